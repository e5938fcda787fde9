package config

import (
	"os"
	"regexp"
	"testing"
)

// What the how-to of destinations shows is a configuration that works.
func TestDocumentedConfigurations(t *testing.T) {
	md, err := os.ReadFile("../../../responders/destinations.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(md, -1)
	if len(blocks) < 2 {
		t.Fatalf("%d blocks of YAML", len(blocks))
	}
	env := []string{"DINGTALK_WEBHOOK=https://oapi.example/robot/send?access_token=x", "DINGTALK_SECRET=SECEXAMPLE", "SMTP_PASSWORD=EXAMPLE", "HOOK_SECRET=EXAMPLEEXAMPLEEXAMPLE",
		"FEISHU_APP_SECRET=EXAMPLE", "DINGTALK_CLIENT_SECRET=EXAMPLE"}
	for _, b := range blocks {
		c, err := Parse("destinations.md", b[1], env)
		if err != nil {
			t.Errorf("%v\nin\n%s", err, b[1])
			continue
		}
		if len(c.Notify.Destinations()) == 0 {
			t.Errorf("no destination in\n%s", b[1])
		}
	}
}
