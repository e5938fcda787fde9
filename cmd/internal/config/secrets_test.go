package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"
)

// secretPaths are the paths of all Secrets of Config, found by type: [] stands
// for an entry of a list.
func secretPaths(t *testing.T) (out []string) {
	var walk func(x reflect.Type, path string, above []reflect.Type)
	walk = func(x reflect.Type, path string, above []reflect.Type) {
		for x.Kind() == reflect.Pointer {
			x = x.Elem()
		}
		switch {
		case slices.Contains(above, x):
		case x == reflect.TypeFor[Secret]():
			out = append(out, path)
		case x.Kind() == reflect.Slice:
			walk(x.Elem(), path+"[]", above)
		case x.Kind() == reflect.Map:
			walk(x.Elem(), join(path, "k"), above)
		case x.Kind() == reflect.Struct:
			for i := range x.NumField() {
				f := x.Field(i)
				if inline(f) {
					walk(f.Type, path, append(above, x))
				} else if k := yamlKey(f); k != "" {
					walk(f.Type, join(path, k), append(above, x))
				}
			}
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	for _, want := range []string{"traces.authorization", "traces.endpoint", "credentials.access_key_secret", "notify.slack[].token", "notify.email[].password"} {
		if !slices.Contains(out, want) {
			t.Fatalf("no %s among %v", want, out)
		}
	}
	return out
}

// document writes value at path in block form, as the last of its mapping but
// one; value may begin with a line break, and %s is then the indentation of
// what follows.
func document(path, value string) string {
	var b strings.Builder
	in := ""
	dash := ""
	for _, part := range strings.Split(path, ".") {
		key, n := strings.TrimRight(part, "[]"), strings.Count(part, "[]")
		fmt.Fprintf(&b, "\n%s%s%s:", in, dash, key)
		if dash != "" {
			in += "  "
		}
		dash = strings.Repeat("- ", n)
		in += "  "
	}
	fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(value, "%s", in+"  "))
	return strings.TrimPrefix(b.String(), "\n") + "log:\n  level: plainly\n"
}

// hidden is in every secret of these tests, and nowhere else.
const hidden = "S3CRET"

// Every value of type Secret, also of keys that are yet to come, stays out of
// what errors show of the file, however it is written and whatever is wrong.
func TestNoSecretInErrors(t *testing.T) {
	values := []string{
		" S3CRET", " Bearer S3CRET", " http://example.com/S3CRET", ` "Bearer S3CRET"`, " '****' # S3CRET",
		"\n%sBearer S3CRET", "\n%sBearer\n%sS3CRET", " |\n%sBearer\n\n%sS3CRET: x", " >-\n%sS3CRET", " \"Bearer\n%sS3CRET\n\n%slevel: S3CRET\"", " 'S3CRET\n%s'",
		" {x: S3CRET}", " [S3CRET]", "\n%s- S3CRET", "\n%slevel: S3CRET", " {level: x,\n%sx: S3CRET}",
		" !S3CRET x", " !!int S3CRET", " !!binary S3CRET", " &S3CRET x", " *S3CRET", " S3CRET: x", ` "S3CRET`, " [S3CRET", " @S3CRET", " %%S3CRET", " ${S3CRET", " \"\\S3CRET\"", "\tS3CRET\t: x",
	}
	check := func(name, src string) {
		t.Helper()
		all := []string{src, src + "]: [\n"}
		if strings.HasPrefix(name, "traces.") {
			all = append(all, "x: &x 1\n"+src, strings.Replace(src, ":", ": [", 1), src+"\x01", strings.ReplaceAll(src, "\n", "\r\n"))
		}
		for _, s := range all {
			c, err := Parse("c.yaml", []byte(s), nil)
			if strings.Contains(fmt.Sprint(err), hidden) {
				t.Errorf("%s: the error shows the secret of\n%s\n%v", name, s, err)
			}
			if c != nil && strings.Contains(dumped(c), hidden) {
				t.Errorf("%s: the configuration shows its secret", name)
			}
			p := newParser("c.yaml", []byte(s), nil)
			_, _ = p.tree([]byte(s))
			for i := range p.lines {
				if l := p.source(i + 1); strings.Contains(l, hidden) {
					t.Errorf("%s: line %d may be shown: %q of\n%s", name, i+1, l, s)
				}
			}
		}
	}
	for _, path := range secretPaths(t) {
		for _, v := range values {
			check(path, document(path, v))
		}
		// The key misspelt, given to what is above, or elsewhere.
		check(path+" misspelt", document(path+"x", " Bearer S3CRET"))
		key := path[strings.LastIndexByte(path, '.')+1:]
		check(path+" elsewhere", "detect:\n  "+key+":\n    Bearer S3CRET\n"+key+": S3CRET\n")
		for i := range path {
			if path[i] == '.' {
				check(path[:i], document(path[:i], " Bearer S3CRET"))
			}
		}
		// By an anchor elsewhere, merged, and in one line.
		check(path+" by an alias", "x:\n  - &a Bearer S3CRET\n"+document(path, " *a"))
		check(path+" in flow style", flow(path, "Bearer S3CRET, sample: [x]"))
		check(path+" merged", "log: &m\n  "+key+":\n    Bearer S3CRET\n"+flow(strings.TrimSuffix(path, "."+key), "{<<: *m}"))
		if !strings.Contains(path, ".k") {
			env := EnvPrefix + strings.ToUpper(strings.NewReplacer("[]", "_0", ".", "_").Replace(path))
			for _, v := range []string{"S3CRET", "http://example.com/?x=S3CRET", "://S3CRET\x00", "!S3CRET: ["} {
				if _, err := Parse("c.yaml", nil, []string{env + "=" + v}); strings.Contains(fmt.Sprint(err), hidden) {
					t.Errorf("%s: %v", env, err)
				}
			}
		}
	}
}

// flow writes value at path in one line.
func flow(path, value string) string {
	end := "\n"
	var b strings.Builder
	for i, part := range strings.Split(path, ".") {
		if i > 0 {
			b.WriteString("{")
			end = "}" + end
		}
		key, n := strings.TrimRight(part, "[]"), strings.Count(part, "[]")
		b.WriteString(key + ": " + strings.Repeat("[", n))
		end = strings.Repeat("]", n) + end
	}
	return b.String() + value + end
}

// What is no secret is shown: a line that is wrong should be seen.
func TestOnlySecretsAreHidden(t *testing.T) {
	for src, want := range map[string]string{
		"traces:\n  authorization:\n    Bearer\n    S3CRET\n  sample: 7\n":                                                         "\n    sample: 7\n",
		"traces: {sample: 7, authorization: Bearer S3CRET}\n":                                                                      "\n  traces: {sample: 7, authorization: ****\n",
		"source:\n  sls:\n    - endpoint: http://cn-hangzhou.log.aliyuncs.com\n      project: aa\n      logstore: bb\n":            "- endpoint: http://cn-hangzhou.log.aliyuncs.com\n",
		"notify:\n  slack:\n    - token: >\n        S3CRET\n      name: a\n      channel: C0123456789\n      min_severity: loud\n": "\n        min_severity: loud\n",
		"credentials: {access_key_id: a}\nlog: {level: loud}\n":                                                                    "\n  log: {level: loud}\n",
		"log:\n  level: [loud\n": "c.yaml:",
	} {
		_, err := Parse("c.yaml", []byte(src), nil)
		if got := fmt.Sprint(err); !strings.Contains(got, want) || strings.Contains(got, hidden) {
			t.Errorf("%s\n got %s\nwant it to contain %q", src, got, want)
		}
	}
}

func dumped(c *Config) string {
	j, _ := json.Marshal(c)
	y, _ := yaml.Dump(c)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c)
	shown := string(j) + string(y) + log.String()
	for _, x := range []any{*c, c.Credentials, c.Notify, c.Respond, c.Console, c.Traces} {
		shown += fmt.Sprintf("%v %+v %#v ", x, x, x) + oneLine(x)
	}
	return shown
}

// Every Secret is known to who takes secrets out of a text, and none is in a
// form in which a configuration can be shown.
func TestNoSecretInDumps(t *testing.T) {
	c := defaults()
	n := 0
	var fill func(v reflect.Value, depth int)
	fill = func(v reflect.Value, depth int) {
		switch {
		case depth > 12:
		case v.Type() == reflect.TypeFor[Secret]():
			n++
			v.SetString(fmt.Sprintf("%s-%d-EXAMPLE", hidden, n))
		case v.Kind() == reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth+1)
		case v.Kind() == reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), depth+1)
		case v.Kind() == reflect.Map:
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(e, depth+1)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(k, e)
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				if v.Field(i).CanSet() {
					fill(v.Field(i), depth+1)
				}
			}
		}
	}
	fill(reflect.ValueOf(c).Elem(), 0)
	if paths := secretPaths(t); n != len(paths) {
		t.Fatalf("%d secrets were set, there are %d", n, len(paths))
	}
	if s := dumped(c); strings.Contains(s, hidden) {
		t.Errorf("a secret is shown: %s", s[max(0, strings.Index(s, hidden)-200):])
	}
	known := Secrets(c)
	for i := range n {
		if want := fmt.Sprintf("%s-%d-EXAMPLE", hidden, i+1); !slices.Contains(known, want) {
			t.Errorf("Secrets leaves out %s", want)
		}
	}
	if len(known) != n {
		t.Errorf("%d secrets, want %d", len(known), n)
	}
}

// Secrets that stand in the file are named with their places, not what they are;
// those by reference, by the environment, and addresses are not.
func TestWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("xoxb-EXAMPLE-of-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("c.yaml", []byte(`
notify:
  slack:
    - {name: one, token: xoxb-EXAMPLE-written, channel: C0EXAMPLE01}
    - name: two
      token: ${file:`+file+`}
      channel: C0EXAMPLE01
    - name: three
      token: &t xoxb-EXAMPLE-anchored
      channel: C0EXAMPLE01
    - name: four
      token: *t
      channel: C0EXAMPLE01
  webhook:
    - name: hook
      url: https://hook.example.com/x
      secret: ${SECRET}
traces: {endpoint: "https://collector.example.com/v1/traces", authorization: replaced}
`), []string{"SECRET=EXAMPLEofEnvironment", "TRAILWARDEN_TRACES_AUTHORIZATION=Bearer EXAMPLE"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"c.yaml:4: notify.slack[0].token", "c.yaml:9: notify.slack[2].token", "c.yaml:12: notify.slack[3].token"}
	if got := c.Written(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
