package cli

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/deploy"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders/ram"
)

//go:embed init.yaml.tmpl
var initYAML string

//go:embed init.tf.tmpl
var initTerraform string

// answers are what init needs to know.
type answers struct {
	Account, Name, Region, Project, Trail, Channel string

	Responder, Language, StateDir string
	Protected                     []string
}

var (
	initAccount = regexp.MustCompile(`^[0-9]{8,20}$`)
	initRegion  = regexp.MustCompile(`^[a-z]+-[a-z0-9-]+$`)
	initProject = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	initTrail   = regexp.MustCompile(`^[a-z][a-z0-9_-]{1,35}$`)
	initChannel = regexp.MustCompile(`^[A-Z0-9]{6,20}$`)
	initUser    = regexp.MustCompile(`^[A-Za-z0-9._@*-]{1,64}$`)
	initName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._ -]{0,40}$`)
)

// question is one thing that init asks for.
type question struct {
	flag, ask, hint string
	value           *string
	ok              *regexp.Regexp
	optional        bool
}

func (a *answers) questions() []question {
	return []question{
		{"account", "Id of the Alibaba Cloud account", "digits only", &a.Account, initAccount, false},
		{"region", "Region of the SLS project that the trail delivers to", "such as cn-hangzhou", &a.Region, initRegion, false},
		{"project", "Name of that SLS project", "lower-case letters, digits and -", &a.Project, initProject, false},
		{"trail", "Name of the trail", "up to 36 lower-case letters, digits, - and _", &a.Trail, initTrail, false},
		{"channel", "Id of the Slack channel for alerts, empty for none yet", "such as C0123456789", &a.Channel, initChannel, true},
	}
}

func initCmd(e *env) *cobra.Command {
	var a answers
	var dir, profile, endpoint string
	var force, ask, discover bool
	c := &cobra.Command{Use: "init", Short: "Write a configuration, RAM policies and a Terraform fragment for your trail",
		Long: `init asks five questions, or takes their answers from flags, and writes into --dir:

  trailwarden.yaml        the configuration, commented
  ram/reader.json         the least that reading needs
  ram/doctor.json         what doctor needs besides, while you set up
  ram/responder.json      the least that containment needs, with --responder
  terraform/main.tf       trail, project, roles and these policies, if you prefer that

With --discover it first asks the cloud, with the credentials that run would use: who they
are of, and which trail delivers to a logstore. It reads and changes nothing there.
The region is also taken from the profile of the aliyun CLI, when there is one.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"none", "disable-key", "contain"}, a.Responder) {
				return usagef("--responder %q: want none, disable-key or contain", a.Responder)
			}
			if !slices.Contains([]string{"en", "zh"}, a.Language) {
				return usagef("--language %q: want en or zh", a.Language)
			}
			for _, u := range a.Protected {
				if !initUser.MatchString(u) {
					return usagef("--protect %q: want a RAM user's name, without the account's domain, or a glob", u)
				}
			}
			if a.Region == "" {
				a.Region = aliyunRegion(e, profile)
			}
			if discover {
				if err := a.discover(c.Context(), e, endpoint); err != nil {
					return err
				}
			}
			if f, ok := e.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				ask = true
			}
			if err := a.complete(c.Context(), e, ask); err != nil {
				return err
			}
			return a.write(e, dir, force)
		}}
	f := c.Flags()
	f.StringVar(&a.Account, "account", "", "account id")
	f.StringVar(&a.Name, "name", "prod", "what people call the account")
	f.StringVar(&a.Region, "region", "", "region of the SLS project")
	f.StringVar(&a.Project, "project", "", "SLS project")
	f.StringVar(&a.Trail, "trail", "", "trail; its logstore is actiontrail_<trail>")
	f.StringVar(&a.Channel, "channel", "", "id of the Slack channel")
	f.StringVar(&a.Language, "language", "en", "of the alerts: en or zh")
	f.StringVar(&a.StateDir, "state-dir", "/var/lib/trailwarden", "state folder of the program")
	f.StringVar(&a.Responder, "responder", "none", "what may be contained: none, disable-key or contain")
	f.StringSliceVar(&a.Protected, "protect", []string{"break-glass-*"}, "RAM users, or globs, that are never touched (repeatable)")
	f.StringVar(&dir, "dir", ".", "folder to write into")
	f.StringVar(&profile, "profile", "", "profile of the aliyun CLI to take the region from (default: its current one)")
	f.BoolVar(&discover, "discover", false, "ask the cloud for what can be found out")
	f.BoolVar(&ask, "ask", false, "ask for what is missing although the input is no terminal")
	f.BoolVar(&force, "force", false, "write over files that are there")
	f.StringVar(&endpoint, "endpoint", "", "one address for STS and ActionTrail, for the fake cloud")
	_ = f.MarkHidden("endpoint") // the flag was just defined
	return c
}

// aliyunRegion is the region of a profile of the aliyun CLI, "" when there is
// none. Nothing else of the file is used.
func aliyunRegion(e *env, name string) string {
	home := e.getenv("HOME")
	if home == "" {
		return ""
	}
	if name == "" {
		name = e.getenv("ALIBABA_CLOUD_PROFILE")
	}
	b, err := os.ReadFile(filepath.Join(home, ".aliyun", "config.json"))
	if err != nil {
		return ""
	}
	var f struct {
		Current  string `json:"current"`
		Profiles []struct {
			Name   string `json:"name"`
			Region string `json:"region_id"`
		} `json:"profiles"`
	}
	if json.Unmarshal(b, &f) != nil {
		return ""
	}
	if name == "" {
		name = f.Current
	}
	for _, p := range f.Profiles {
		if p.Name == name && initRegion.MatchString(p.Region) {
			return p.Region
		}
	}
	return ""
}

var projectOfTrail = regexp.MustCompile(`^acs:log:([a-z0-9-]+):([0-9]+):project/([a-z0-9-]+)$`)

// discover fills in what the cloud says. What was given stays.
func (a *answers) discover(ctx context.Context, e *env, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	p, err := cred.New(cred.Config{})
	if err != nil {
		return exit(exitUsage, err)
	}
	if _, _, _, _, err := p.Get(ctx); err != nil {
		return exit(exitUnreachable, fmt.Errorf("asking the cloud (leave --discover out to go on without): %w", err))
	}
	c, err := ram.New(ram.Config{Region: a.Region, Endpoint: endpoint,
		Credentials: func(ctx context.Context) (id, secret, token string, err error) {
			id, secret, token, _, err = p.Get(ctx)
			return id, secret, token, err
		}})
	if err != nil {
		return exit(exitUsage, err)
	}
	defer c.Close()
	who, err := c.Caller(ctx)
	if err != nil {
		return exit(exitUnreachable, fmt.Errorf("asking the cloud (leave --discover out to go on without): %w", err))
	}
	fmt.Fprintf(e.err, "account %s, credentials %s\n", who.Account, p.ProviderName())
	if a.Account == "" {
		a.Account = who.Account
	}
	trails, err := c.Trails(ctx)
	if err != nil {
		return exit(exitUnreachable, fmt.Errorf("looking at the trails (leave --discover out to go on without): %w", err))
	}
	var found []ram.Trail
	for _, t := range trails {
		m := projectOfTrail.FindStringSubmatch(t.ProjectARN)
		if m == nil || a.Trail != "" && t.Name != a.Trail || a.Project != "" && m[3] != a.Project {
			continue
		}
		found = append(found, t)
		fmt.Fprintf(e.err, "trail %s delivers to project %s in %s, events: %s, regions: %s\n", text.Terminal(t.Name), m[3], m[1], text.Terminal(t.EventRW), text.Terminal(t.TrailRegion))
	}
	switch len(found) {
	case 0:
		fmt.Fprintln(e.err, "no trail delivers to a project of the log service; terraform/main.tf makes one")
	case 1:
		m := projectOfTrail.FindStringSubmatch(found[0].ProjectARN)
		a.Region, a.Project, a.Trail = m[1], m[3], found[0].Name
	default:
		fmt.Fprintln(e.err, "more than one: say which by --trail")
	}
	return nil
}

// complete asks for what is missing, or says which flags are.
func (a *answers) complete(ctx context.Context, e *env, ask bool) error {
	p := newPrompt(ctx, e, e.err)
	var missing []string
	for _, q := range a.questions() {
		if *q.value == "" && ask {
			for {
				answer, err := p.ask(fmt.Sprintf("%s (%s): ", q.ask, q.hint))
				if ctx.Err() != nil {
					return ctx.Err()
				}
				*q.value = answer
				if *q.value == "" && q.optional || q.ok.MatchString(*q.value) {
					break
				}
				if err != nil {
					return usagef("no answer to: %s", q.ask)
				}
				fmt.Fprintf(e.err, "that is not one: want %s\n", q.hint)
			}
		}
		switch {
		case *q.value == "" && !q.optional:
			missing = append(missing, "--"+q.flag)
		case *q.value != "" && !q.ok.MatchString(*q.value):
			return usagef("--%s %q: want %s", q.flag, text.Line(*q.value), q.hint)
		}
	}
	if len(missing) > 0 {
		return usagef("there is no terminal to ask on: give %s, or --discover", strings.Join(missing, ", "))
	}
	if !initName.MatchString(a.Name) {
		return usagef("--name %q: want letters, digits, spaces and . _ -", text.Line(a.Name))
	}
	if strings.ContainsAny(a.StateDir, "\n\"'#:{}[]") || a.StateDir == "" {
		return usagef("--state-dir %q: want a path", text.Line(a.StateDir))
	}
	return nil
}

func render(name, tmpl string, a any) ([]byte, error) {
	t, err := template.New(name).Parse(tmpl)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, a)
	return b.Bytes(), err
}

func (a *answers) write(e *env, dir string, force bool) error {
	type file struct {
		name, what string
		data       []byte
	}
	conf, err := render("trailwarden.yaml", initYAML, a)
	if err != nil {
		return err
	}
	// What is written must be what run accepts.
	if _, err := config.Parse("trailwarden.yaml", conf, []string{"SLACK_BOT_TOKEN=xoxb-to-come"}); err != nil {
		return fmt.Errorf("the configuration made of these answers is not valid: %w", err)
	}
	tf, err := render("main.tf", initTerraform, a)
	if err != nil {
		return err
	}
	words := deploy.Words{Account: a.Account, Project: a.Project, Logstore: "actiontrail_" + a.Trail, Protected: a.Protected}
	files := []file{{"trailwarden.yaml", "the configuration", conf}}
	policies := [][3]string{{"reader.json", "reader.json", "policy of the reader"}, {"doctor.json", "doctor.json", "what doctor needs besides, while you set up"}}
	if a.Responder != "none" {
		policies = append(policies, [3]string{"responder-" + a.Responder + ".json", "responder.json", "policy of the role trailwarden-responder"})
		if a.Responder == "contain" {
			policies = append(policies, [3]string{"quarantine-deny-all.json", "zz-quarantine-deny-all.json", "custom policy that a quarantine attaches: create it now, under this name"})
		}
	}
	for _, p := range policies {
		s, err := deploy.Filled(p[0], words)
		if err != nil {
			return err
		}
		files = append(files, file{filepath.Join("ram", p[1]), p[2], []byte(s)})
	}
	if a.Responder != "none" {
		assume := fmt.Sprintf("{\n  \"Version\": \"1\",\n  \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \"Resource\": \"acs:ram::%s:role/trailwarden-responder\"}]\n}\n", a.Account)
		files = append(files, file{filepath.Join("ram", "assume.json"), "lets the reader become the responder", []byte(assume)})
	}
	files = append(files, file{filepath.Join("terraform", "main.tf"), "all of it by Terraform, if you prefer", tf})

	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil && !force {
			return exit(exitRefused, fmt.Errorf("%s is there already: say --force to write over it, or give another --dir", filepath.Join(dir, f.name)))
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			return exit(exitUsage, err)
		}
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return exit(exitUsage, err)
		}
		if err := os.WriteFile(path, f.data, 0o600); err != nil {
			return exit(exitUsage, err)
		}
		fmt.Fprintf(e.out, "%-32s %s\n", path, f.what)
	}
	fmt.Fprintf(e.err, "\nNext:\n")
	if a.Channel != "" {
		fmt.Fprintln(e.err, "  export SLACK_BOT_TOKEN=xoxb-…")
	}
	fmt.Fprintf(e.err, "  trailwarden doctor --config %s\n", filepath.Join(dir, "trailwarden.yaml"))
	return nil
}
