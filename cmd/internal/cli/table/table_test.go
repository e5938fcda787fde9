package table

import (
	"errors"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name   string
		header Row
		rows   []Row
		want   string
	}{
		{"columns", Row{"rule", "n", "why"}, []Row{{"a.b", 7, "x"}, {"longer", 1234, ""}},
			"RULE       N  WHY\na.b        7  x\nlonger  1234\n"},
		{"wide characters", Row{"谁", "做"}, []Row{{"管理员", "x"}, {"bob", "y"}}, "谁      做\n管理员  x\nbob     y\n"},
		{"not all numbers", Row{"a", "b"}, []Row{{1, "x"}, {"-", "y"}, {22, "z"}}, "A   B\n1   x\n-   y\n22  z\n"},
		{"ragged, and lines", Row{"a"}, []Row{{"x\ny", 1}, {}}, "A\nx y  1\n\n"},
		{"nothing", Row{"a", "b"}, nil, "A  B\n"},
	} {
		var b strings.Builder
		if err := Write(&b, c.header, c.rows); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, b.String(), c.want)
		}
	}
	if err := Write(full{}, Row{"a"}, nil); err == nil {
		t.Error("a full pipe is no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }
