package check

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// TestTerraformFmt is terraform fmt -check, by Terraform's parser and formatter. terraform validate needs the provider's schema,
// and so the registry.
func TestTerraformFmt(t *testing.T) {
	files, err := filepath.Glob("../terraform/*.tf")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, d := hclparse.NewParser().ParseHCL(b, f); d.HasErrors() {
			t.Error(d)
			continue
		}
		if string(hclwrite.Format(b)) != string(b) {
			t.Errorf("%s is not formatted: terraform fmt", f)
		}
	}
}
