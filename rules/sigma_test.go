package rules

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// sigmaDoc is what the Sigma specification (2.0) wants of a document.
type sigmaDoc struct {
	Title, ID, Name, Status, Description, Author, Level string
	References, Tags                                    []string
	Logsource                                           map[string]string
	Detection                                           map[string]yaml.Node
	Correlation                                         *struct {
		Type, Timespan string
		Rules          []string
		GroupBy        []string `yaml:"group-by"`
		Condition      map[string]any
	}
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	tagForm  = regexp.MustCompile(`^attack\.(t\d{4}(\.\d{3})?|[a-z-]+)$`)
	nameForm = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
)

// sigmaDocs reads and checks what was exported: the shape of Sigma.
func sigmaDocs(t *testing.T, text string) (out []sigmaDoc) {
	t.Helper()
	for _, part := range strings.Split(text, "---\n") {
		var d sigmaDoc
		dec, err := yaml.NewLoader(strings.NewReader(part), yaml.WithKnownFields())
		if err == nil {
			err = dec.Load(&d)
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, part)
		}
		if d.Title == "" || len(d.Title) > 256 || !uuidForm.MatchString(d.ID) || d.Description == "" || !slices.Contains([]string{"test", "experimental"}, d.Status) ||
			!slices.Contains([]string{"informational", "low", "medium", "high", "critical"}, d.Level) {
			t.Errorf("head: %+v", d)
		}
		for _, tag := range d.Tags {
			if !tagForm.MatchString(tag) {
				t.Errorf("tag %q", tag)
			}
		}
		if (d.Correlation == nil) == (d.Detection == nil) {
			t.Errorf("neither or both: %s", part)
		}
		if c := d.Correlation; c != nil {
			if !slices.Contains([]string{"event_count", "value_count"}, c.Type) || !regexp.MustCompile(`^\d+[smhd]$`).MatchString(c.Timespan) || len(c.Rules) != 1 ||
				c.Rules[0] != out[0].Name || len(c.GroupBy) == 0 || c.Condition["gte"] == nil || (c.Type == "value_count") != (c.Condition["field"] != nil) {
				t.Errorf("correlation: %+v", c)
			}
		} else {
			if d.Logsource["product"] != "alibaba_cloud" || d.Logsource["service"] != "actiontrail" {
				t.Errorf("logsource: %v", d.Logsource)
			}
			used := regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`).FindAllString(d.Detection["condition"].Value, -1)
			for name := range d.Detection {
				if name != "condition" && (!nameForm.MatchString(name) || !slices.Contains(used, name)) {
					t.Errorf("selection %q is not used or not a name", name)
				}
			}
			for _, u := range used {
				if _, ok := d.Detection[u]; !ok && !slices.Contains([]string{"and", "or", "not"}, u) {
					t.Errorf("condition names %q, which is not there", u)
				}
			}
		}
		out = append(out, d)
	}
	return out
}

// sigmaMatch evaluates a detection on a record, by the letter of the
// specification: the oracle of the translation.
func sigmaMatch(t *testing.T, d sigmaDoc, record map[string]any, lists map[string][]string) bool {
	t.Helper()
	tokens := regexp.MustCompile(`[()]|[A-Za-z0-9_]+`).FindAllString(d.Detection["condition"].Value, -1)
	var or func() bool
	next := func() string {
		if len(tokens) == 0 {
			return ""
		}
		return tokens[0]
	}
	take := func() string { x := next(); tokens = tokens[1:]; return x }
	var unit func() bool
	unit = func() bool {
		switch x := take(); x {
		case "not":
			return !unit()
		case "(":
			v := or()
			take()
			return v
		default:
			sel := d.Detection[x]
			for i := 0; i+1 < len(sel.Content); i += 2 {
				if !sigmaField(t, sel.Content[i].Value, sel.Content[i+1], record, lists) {
					return false
				}
			}
			return true
		}
	}
	and := func() bool {
		v := unit()
		for next() == "and" {
			take()
			w := unit()
			v = v && w
		}
		return v
	}
	or = func() bool {
		v := and()
		for next() == "or" {
			take()
			w := and()
			v = v || w
		}
		return v
	}
	return or()
}

// at finds a field by its dotted name; keys may hold dots themselves.
func at(v any, name string) any {
	m, _ := v.(map[string]any)
	for k, x := range m {
		if strings.EqualFold(k, name) {
			return x
		}
		if len(name) > len(k) && strings.EqualFold(name[:len(k)], k) && name[len(k)] == '.' {
			if y := at(x, name[len(k)+1:]); y != nil {
				return y
			}
		}
	}
	return nil
}

func sigmaField(t *testing.T, key string, want *yaml.Node, record map[string]any, lists map[string][]string) bool {
	t.Helper()
	parts := strings.Split(key, "|")
	have := at(record, parts[0])
	if slices.Contains(parts[1:], "exists") {
		return (have != nil) == (want.Value == "true")
	}
	if have == nil {
		return false
	}
	text := fmt.Sprint(have)
	values := want.Content
	if want.Kind == yaml.ScalarNode {
		values = []*yaml.Node{want}
	}
	plain := strings.NewReplacer(`\\`, `\`, `\*`, `*`, `\?`, `?`)
	for _, v := range values {
		low, val := strings.ToLower(text), strings.ToLower(plain.Replace(v.Value))
		hit := false
		switch mods := strings.Join(parts[1:], "|"); mods {
		case "":
			hit = low == val
		case "startswith":
			hit = strings.HasPrefix(low, val)
		case "endswith":
			hit = strings.HasSuffix(low, val)
		case "contains":
			hit = strings.Contains(low, val)
		case "re":
			hit = regexp.MustCompile(v.Value).MatchString(text)
		case "cidr":
			p, err := netip.ParsePrefix(v.Value)
			a, aerr := netip.ParseAddr(text)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			hit = aerr == nil && p.Contains(a.Unmap())
		case "expand", "cidr|expand":
			a, _ := netip.ParseAddr(text)
			hit = newList(lists[strings.Trim(v.Value, "%")]).has(text, a.Unmap())
		default:
			t.Fatalf("modifier %q", mods)
		}
		if hit {
			return true
		}
	}
	return false
}

// What is exported has Sigma's shape, and says of the events of the rules' own
// tests what the rule's condition says; what has no form is listed with a reason.
func TestSigma(t *testing.T) {
	set, err := Load(LoadOptions{Pack: true, Factories: anyFactory(t)})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	written, checked := 0, 0
	for _, x := range Sigma(set) {
		if (x.Text == "") == (x.Why == "") {
			t.Errorf("%s: text %q, why %q", x.Rule, x.Text, x.Why)
		}
		if x.Text == "" {
			continue
		}
		written++
		docs := sigmaDocs(t, x.Text)
		for _, d := range docs {
			if was := ids[d.ID]; was != "" {
				t.Errorf("%s and %s have one id", was, x.Rule)
			}
			ids[d.ID] = x.Rule
		}
		n := slices.IndexFunc(set.rules, func(r *rule) bool { return r.id() == x.Rule })
		for i := range set.rules[n].tests() {
			test := &set.rules[n].tests()[i]
			records, err := test.records()
			if err != nil {
				t.Fatal(err)
			}
			lists := test.Lists
			s := newSession(set.only(set.rules[n], test))
			for _, raw := range records {
				ev, err := event.Parse(raw)
				if err != nil {
					continue
				}
				s.Begin(ev)
				want, err := s.holds(set.rules[n].match)
				if err != nil {
					t.Fatal(err)
				}
				var record map[string]any
				if err := json.Unmarshal(raw, &record); err != nil {
					continue
				}
				// As SLS delivers them: whoever loads the trail parses the text.
				if s, ok := record["requestParameterJson"].(string); ok && record["requestParameters"] == nil {
					var params any
					if json.Unmarshal([]byte(s), &params) == nil {
						record["requestParameters"] = params
					}
				}
				supposed := false
				for _, n := range x.Notes {
					list, ok := strings.CutPrefix(n, "it supposes that the list ")
					supposed = supposed || ok && len(lists[strings.TrimSuffix(list, " is filled")]) == 0
				}
				if supposed {
					continue
				}
				checked++
				if got := sigmaMatch(t, docs[0], record, lists); got != want {
					t.Errorf("%s, test %q: Sigma says %v, the rule %v\n%s\n%s", x.Rule, test.Name.value, got, want, x.Text, raw)
				}
			}
		}
	}
	if written < 40 || checked < 300 {
		t.Errorf("%d rules are written, %d events were checked", written, checked)
	}
}
