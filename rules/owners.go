package rules

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Ownership is what a table says of an identity or an asset. What it does not say
// is empty, or Unknown.
type Ownership struct {
	Owner, Team string
	Production  event.Tri
}

// IsZero says that nothing is known.
func (o Ownership) IsZero() bool { return o == Ownership{} }

// over fills in what o does not say.
func (o Ownership) over(less Ownership) Ownership {
	if o.Owner == "" {
		o.Owner = less.Owner
	}
	if o.Team == "" {
		o.Team = less.Team
	}
	if o.Production == event.Unknown {
		o.Production = less.Production
	}
	return o
}

// details is how an alert shows it.
func (o Ownership) details() map[string]any {
	out := map[string]any{}
	if o.Owner != "" {
		out["owner"] = o.Owner
	}
	if o.Team != "" {
		out["team"] = o.Team
	}
	if o.Production != event.Unknown {
		out["production"] = o.Production == event.Yes
	}
	return out
}

// Owners says who answers for what, from tables of the configuration. Nil knows
// nothing. Safe for concurrent use.
type Owners struct {
	of map[string]Ownership // by id in lower case, and as written
}

// Of returns what is known under any of the ids, the most particular first: what
// one does not say, the next may. Empty ids are left out, and so is letter case.
func (o *Owners) Of(ids ...string) (out Ownership) {
	if o == nil {
		return out
	}
	for _, id := range ids {
		if id == "" {
			continue
		}
		x, ok := o.of[id]
		if !ok {
			x = o.of[strings.ToLower(id)]
		}
		out = out.over(x)
	}
	return out
}

// Len is the number of entries.
func (o *Owners) Len() int {
	if o == nil {
		return 0
	}
	return len(o.of)
}

// maxTable bounds a table of owners.
const maxTable = 16 << 20

// ownerDoc is one entry of a YAML table.
type ownerDoc struct {
	Owner      text `yaml:"owner" doc:"Who answers for it."`
	Team       text `yaml:"team" doc:"Their team."`
	Production text `yaml:"production" doc:"true or false; left out where it is not known."`
	Note       text `yaml:"note" doc:"For people; not read."`
}

// owners reads the tables of the options.
func (l *loader) owners() *Owners {
	if len(l.opts.Owners) == 0 {
		return nil
	}
	t := &ownerTable{of: map[string]Ownership{}, at: map[string]string{}}
	for n, p := range l.files(l.opts.Owners, EmptyDir{"owners", "table of owners (*.csv, *.yaml)", ""}, ".csv", ".yaml", ".yml") {
		data, ok := l.readFile(p, maxTable)
		if !ok {
			continue
		}
		f := newFile(p, data)
		f.what = "a table of owners"
		switch filepath.Ext(p) {
		case ".csv":
			t.csv(f, data)
		case ".yaml", ".yml":
			t.yaml(f, data)
		default:
			f.at(0, 0, "", "a table of owners is a .csv or .yaml file")
		}
		l.errs = append(l.errs, f.errs...)
		l.keep("owners", fmt.Sprintf("%03d%s", n, filepath.Ext(p)), data)
		l.sum = append(l.sum, "owners\x00"+hash(string(data)))
	}
	return &Owners{of: t.of}
}

type ownerTable struct {
	of map[string]Ownership
	at map[string]string // where an id stands
}

// add takes one entry; fail says what is wrong with one of its columns.
func (t *ownerTable) add(f *file, line int, id, owner, team, production string, fail func(column, hint, format string, args ...any)) {
	id = strings.TrimSpace(id)
	key := strings.ToLower(id)
	var o Ownership
	switch {
	case id == "":
		fail("id", "", "the id is empty")
		return
	case strings.IndexFunc(id, hostile) >= 0:
		fail("id", "", "the id holds characters that cannot be seen")
		return
	case strings.Contains(id, "*"):
		fail("id", "an account id stands for everything in it that has no entry of its own", "patterns are not supported")
		return
	case t.at[key] != "":
		fail("id", "", "%q stands in %s already", tame(id, 80), t.at[key])
		return
	}
	switch strings.ToLower(strings.TrimSpace(production)) {
	case "":
	case "true", "yes":
		o.Production = event.Yes
	case "false", "no":
		o.Production = event.No
	default:
		fail("production", "true, false, or nothing where it is not known", "%q does not say whether it is production", tame(production, 40))
		return
	}
	o.Owner, o.Team = tame(strings.TrimSpace(owner), maxValue), tame(strings.TrimSpace(team), maxValue)
	if o.IsZero() {
		fail("id", "say owner, team or production", "nothing is said of %q", tame(id, 80))
		return
	}
	t.at[key] = fmt.Sprintf("%s:%d", f.path, line)
	t.of[key] = o
	if id != key {
		t.of[id] = o
	}
}

func (t *ownerTable) yaml(f *file, data []byte) {
	f.limit = maxTable
	root := f.parse(data)
	if root == nil {
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if v.Kind != yaml.MappingNode {
			f.node(v, "{owner: …, team: …, production: true}", "want a mapping, this is %s", kindOf(v))
			continue
		}
		var d ownerDoc
		before := len(f.errs)
		f.structure(v, reflectOf(&d))
		if len(f.errs) > before {
			continue
		}
		t.add(f, k.Line, k.Value, d.Owner.value, d.Team.value, d.Production.value, func(column, hint, format string, args ...any) {
			n := k
			if c := child(v, column); c != nil {
				n = c
			}
			f.node(n, hint, format, args...)
		})
	}
}

var ownerColumns = []string{"id", "owner", "team", "production", "note"}

func (t *ownerTable) csv(f *file, data []byte) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	r.TrimLeadingSpace = true
	r.Comment = '#'
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		f.at(1, 1, "id,owner,team,production", "the table has no head")
		return
	}
	where := map[string]int{}
	for i, c := range head {
		name := strings.ToLower(strings.TrimSpace(c))
		line, column := r.FieldPos(i)
		switch _, twice := where[name]; {
		case !slices.Contains(ownerColumns, name):
			hint := DidYouMean(name, ownerColumns)
			if hint == "" {
				hint = "columns are " + strings.Join(ownerColumns, ", ")
			}
			f.at(line, column, hint, "there is no column %q", tame(c, 40))
		case twice:
			f.at(line, column, "", "column %q again", name)
		default:
			where[name] = i
		}
	}
	if _, ok := where["id"]; !ok && err == nil {
		f.at(1, 1, "id,owner,team,production", "the table has no column id")
	}
	if len(f.errs) > 0 {
		return
	}
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var pe *csv.ParseError
		if errors.As(err, &pe) {
			f.at(pe.Line, max(pe.Column, 1), "", "not valid CSV: %v", pe.Err)
			if !errors.Is(pe.Err, csv.ErrFieldCount) {
				return // what follows could be read in any way
			}
			continue
		}
		if err != nil {
			f.at(0, 0, "", "cannot be read: %v", err)
			return
		}
		get := func(column string) string {
			if i, ok := where[column]; ok {
				return rec[i]
			}
			return ""
		}
		line, _ := r.FieldPos(0)
		t.add(f, line, get("id"), get("owner"), get("team"), get("production"), func(column, hint, format string, args ...any) {
			line, at := r.FieldPos(where[column])
			f.at(line, at, hint, format, args...)
		})
	}
}

// actorOwner and targetOwner are what is known of an event's actor and target.
func (o *Owners) actor(ev *event.Event) Ownership {
	a := &ev.Actor
	account := a.Account
	if account == "" {
		account = ev.Recipient
	}
	return o.Of(a.ID, a.Key, a.Name, account)
}

func (o *Owners) target(ev *event.Event) Ownership {
	t := &ev.Target
	if t.ID == "" && t.Name == "" && t.Key == "" {
		return Ownership{}
	}
	return o.Of(t.ID, t.Key, t.Name, ev.Recipient)
}

// unsaid is what production is where no table says.
var unsaid = event.Unknown.String()

var productionWords = []string{event.Yes.String(), event.No.String(), unsaid}
