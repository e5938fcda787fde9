package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/doctor"
)

func supportCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "support", Short: "Collect what somebody needs who helps you", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	var path, out string
	var offline bool
	bundle := &cobra.Command{Use: "bundle", Short: "Write one archive with configuration, doctor's report, status and metrics, redacted",
		Long: `bundle holds no secret, and no audit record. AccessKey ids, account ids, addresses and
e-mail addresses are replaced by stable names (key-1, account-1, address-1): the same thing has
the same name everywhere. Names of projects, logstores, users in rules and channels stay.
Look through it before you send it: it is a tar archive of text files.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if out == "" {
				out = "trailwarden-support-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			files := collect(c.Context(), e, configPath(e, path), offline)
			f, err := newArchive(out)
			if err != nil {
				return err
			}
			err = writeBundle(f, files)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			fmt.Fprintln(e.out, out)
			for _, x := range files {
				fmt.Fprintf(e.err, "  %-16s %d bytes\n", x.name, len(x.data))
			}
			return nil
		}}
	addConfigFlag(bundle, &path)
	bundle.Flags().StringVar(&out, "out", "", "file to write (default trailwarden-support-<time>.tar.gz)")
	bundle.Flags().BoolVar(&offline, "offline", false, "do not let doctor ask the cloud")
	root.AddCommand(bundle)
	return root
}

type bundled struct {
	name string
	data []byte
}

// collect never fails: what cannot be had is said in its file.
func collect(ctx context.Context, e *env, path string, offline bool) []bundled {
	r := newRedactor(e.environ)
	var out []bundled
	add := func(name, data string) { out = append(out, bundled{name, []byte(r.redact(data))}) }
	addJSON := func(name string, v any, err error) {
		if err != nil {
			add(name, "not to be had: "+err.Error()+"\n")
			return
		}
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			add(name, "not to be had: "+err.Error()+"\n")
			return
		}
		add(name, string(b)+"\n")
	}

	var v strings.Builder
	fmt.Fprintf(&v, "trailwarden %s\n%s %s/%s, %d processors\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, d := range bi.Deps {
			fmt.Fprintf(&v, "%s %s\n", d.Path, d.Version)
		}
	}
	for _, kv := range e.environ {
		if k, _, _ := strings.Cut(kv, "="); strings.HasPrefix(k, config.EnvPrefix) || strings.HasPrefix(k, "ALIBABA_CLOUD_") {
			fmt.Fprintf(&v, "variable %s is set\n", k)
		}
	}
	add("version.txt", v.String())

	values, err := config.Resolve(path, e.environ)
	if err != nil {
		add("config.txt", "cannot be used:\n"+err.Error()+"\n")
		return out
	}
	var c strings.Builder
	for _, x := range values {
		fmt.Fprintf(&c, "%s: %s  # %s\n", x.Path, x.Value, x.Origin)
	}
	add("config.txt", c.String())
	cfg, err := config.Load(path, e.environ)
	if err != nil {
		return out
	}
	r.secrets = append(r.secrets, config.Secrets(cfg)...)
	if offline {
		add("doctor.json", "left out: --offline\n")
	} else {
		addJSON("doctor.json", doctor.Run(ctx, doctor.Options{Config: cfg, Path: path}), nil)
	}
	actx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client := admin.Dial(cfg.StateDir)
	st, err := client.Status(actx)
	addJSON("status.json", st, err)
	if err == nil {
		ps, perr := client.Parked(actx, 100)
		addJSON("parked.json", ps, perr)
	}
	if cfg.HTTP.Listen != "" {
		add("metrics.txt", scrape(actx, cfg.HTTP.Listen))
	}
	set, err := app.RulesOf(cfg).Load()
	if err != nil {
		add("rules.txt", err.Error()+"\n")
	} else {
		var b strings.Builder
		fmt.Fprintf(&b, "hash %s\n", set.Hash())
		for _, x := range set.List() {
			fmt.Fprintf(&b, "%s\n", x.ID)
		}
		add("rules.txt", b.String())
	}
	var files strings.Builder
	// With the slash a state folder that is a link (systemd's DynamicUser) is walked, too.
	_ = filepath.WalkDir(cfg.StateDir+string(filepath.Separator), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintf(&files, "%s: %v\n", p, err)
			return nil
		}
		if info, err := d.Info(); err == nil {
			fmt.Fprintf(&files, "%s %9d %s\n", info.Mode(), info.Size(), strings.TrimPrefix(p, cfg.StateDir))
		}
		return nil
	})
	add("state.txt", files.String())
	return out
}

func scrape(ctx context.Context, listen string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/metrics", nil)
	if err != nil {
		return err.Error() + "\n"
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "not to be had: " + err.Error() + "\n"
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(http.MaxBytesReader(nil, resp.Body, 8<<20)); err != nil {
		return "not to be had: " + err.Error() + "\n"
	}
	return b.String()
}

func writeBundle(f *os.File, files []bundled) error {
	gz := gzip.NewWriter(f)
	tw := tar.NewWriter(gz)
	now := time.Now().UTC().Truncate(time.Second)
	for _, x := range files {
		if err := tw.WriteHeader(&tar.Header{Name: x.name, Mode: 0o600, Size: int64(len(x.data)), ModTime: now, Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := tw.Write(x.data); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), gz.Close())
}

// redactor replaces what identifies people and accounts by stable names.
type redactor struct {
	secrets []string
	names   map[string]string
	count   map[string]int
}

// newRedactor also knows the values of variables that are secret by name.
func newRedactor(environ []string) *redactor {
	r := &redactor{nil, map[string]string{}, map[string]int{}}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		if len(v) >= 6 && secretName.MatchString(k) {
			r.secrets = append(r.secrets, v)
		}
	}
	return r
}

var secretName = regexp.MustCompile(`(?i)secret|token|password|passwd|webhook|_key$|credential`)

var redactions = []struct {
	kind string
	re   *regexp.Regexp
}{
	{"secret", regexp.MustCompile(`xox[a-z]-[A-Za-z0-9-]+|xapp-[A-Za-z0-9-]+|https://hooks\.[^\s"']+|(?:robot/send\?access_token=|hook/)[A-Za-z0-9-]+`)},
	{"key", regexp.MustCompile(`\b(?:LTAI|STS\.)[A-Za-z0-9]{6,60}\b`)},
	{"email", regexp.MustCompile(`\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b`)},
	{"account", regexp.MustCompile(`\b[0-9]{14,20}\b`)},
	{"address", regexp.MustCompile(`\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`)},
	{"address", regexp.MustCompile(`[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){3,7}`)},
}

func (r *redactor) redact(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "[redacted]")
	}
	for _, x := range redactions {
		s = x.re.ReplaceAllStringFunc(s, func(m string) string {
			switch x.kind {
			case "secret":
				return "[redacted]"
			case "address":
				if a, err := netip.ParseAddr(m); err != nil || a.IsLoopback() || a.IsUnspecified() {
					return m
				}
			}
			if r.names[m] == "" {
				r.count[x.kind]++
				r.names[m] = fmt.Sprintf("%s-%d", x.kind, r.count[x.kind])
			}
			return r.names[m]
		})
	}
	return s
}
