package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/slstest"
)

// A reading of a logstore that is interrupted at any of its requests says that, and
// blames nothing on the service. A bound that cannot be kept is refused.
func TestLogstoreInterrupted(t *testing.T) {
	t.Parallel()
	srv := slstest.New(slstest.Options{Project: "audit", Logstore: "trail"})
	t.Cleanup(srv.Close)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	srv.AppendLogs(0, at, slstest.Group{Logs: []slstest.Log{{Time: uint32(at.Unix()), Fields: []slstest.Field{{Key: "event", Value: fmt.Sprintf(`{"eventId":"e","eventName":"GetUser","eventTime":%q}`, at.UTC().Format(time.RFC3339))}}}}})
	to, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	var requests, last atomic.Int64
	var stop atomic.Pointer[context.CancelFunc]
	pass := httputil.NewSingleHostReverseProxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == last.Load() {
			(*stop.Load())()
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("secret", "EXAMPLEsecretOfTheTest000001")
	rule := write("c.any.yaml", "id: c.any\nversion: 1\ntitle: t\ndescription: d\nseverity: low\nmatch: event.name == \"CreateUser\"\nreason: r\n")
	conf := write("c.yaml", fmt.Sprintf(`state_dir: %q
credentials: {access_key_id: LTAI5tEXAMPLEreader0001, access_key_secret: "${file:secret}"}
source: {sls: [{endpoint: %q, region: cn-hangzhou, project: audit, logstore: trail, consumer_group: trailwarden}]}
`, filepath.Join(dir, "state"), front.URL))
	run := func(n int64, more ...string) (code int, errs string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop.Store(&cancel)
		requests.Store(0)
		last.Store(n)
		var out, said bytes.Buffer
		code = Run(ctx, append([]string{"replay", "--config", conf, "--no-pack", "--rules", rule, "--from", "2h", "sls://audit/trail"}, more...), &env{in: strings.NewReader(""), out: &out, err: &said})
		return code, said.String()
	}
	if code, errs := run(0); code != exitOK || !strings.Contains(errs, "evaluated 1 event;") {
		t.Fatalf("%d: %s", code, errs)
	}
	all := requests.Load()
	for _, n := range []int64{1, 2, 3, all} {
		if code, errs := run(n); code != exitInterrupted || !strings.Contains(errs, "interrupted while reading sls://audit/trail\n") || strings.Contains(errs, "does not count") {
			t.Errorf("at request %d of %d, exit code %d: %s", n, all, code, errs)
		}
	}
	srv.Inject(slstest.Fault{Call: slstest.GetHistograms, Times: -1, Status: 403, Code: "Unauthorized", Message: "denied"})
	if code, errs := run(0, "--max-read", "5"); code != exitRefused || !strings.Contains(errs, "--max-read 5 cannot be kept") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if code, errs := run(0); code != exitOK || !strings.Contains(errs, "does not count") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
