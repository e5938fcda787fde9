package fakecloud

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/trailwarden/trailwarden/responders/chattest"
)

// The identity that the written configuration uses; a user of every account.
const (
	keyID     = "LTAI5tEXAMPLEtrailwarden"
	keySecret = "EXAMPLEsecretOfTheFakeCloud0001"
	userName  = "trailwarden"
	roleName  = "trailwarden-responder"
)

// writeConfig writes a configuration for `trailwarden run` and the files that
// it refers to into dir, and returns its path.
func writeConfig(dir, addr, project, logstore string, accounts []string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	secrets := map[string]string{"key-id": keyID, "key-secret": keySecret, "slack-token": chattest.DefaultBotToken, "slack-app-token": chattest.DefaultAppToken}
	for name, v := range secrets {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v+"\n"), 0o600); err != nil {
			return "", err
		}
	}
	var names strings.Builder
	for i, a := range accounts {
		fmt.Fprintf(&names, "  %q: account-%d\n", a, i+1)
	}
	if names.Len() == 0 {
		names.WriteString("  {}\n")
	}
	own, assume := "", "" // where there are several accounts
	if len(accounts) > 1 {
		assume = "\n    assume_role: acs:ram::{account}:role/" + roleName
		for _, a := range accounts {
			own += ", role/" + a + "/" + roleName
		}
	}
	static := `{access_key_id: "${file:key-id}", access_key_secret: "${file:key-secret}"}`
	text := fmt.Sprintf(`# Written by trailwarden fakecloud; for its own emulators on %[1]s only.
state_dir: %[2]s
accounts:
%[3]scredentials: %[4]s
source:
  sls:
    - endpoint: http://%[1]s
      region: cn-hangzhou
      project: %[5]s
      logstore: %[6]s
      consumer_group: trailwarden
      start: begin
detect:
  lists: {own_principals: [%[8]s, user/%[9]s/%[8]s%[10]s]}
notify:
  slack:
    - name: slack
      token: "${file:slack-token}"
      app_token: "${file:slack-app-token}"
      channel: %[7]s
      api_url: http://%[1]s/api/
      min_severity: medium
      catch_up: 36500d              # recorded events are old; show each
respond:
  mode: auto
  ram:
    enabled: true
    region: cn-hangzhou
    endpoint: http://%[1]s%[11]s
    credentials: %[4]s
  guards:
    max_evidence_age: 36500d        # recorded events are old; in production keep the default of 30m
    per_hour: 1000
    per_account_hour: 1000
    per_account_day: 1000
    protected: {users: [%[8]s]}
  playbooks:
    - {name: leaked-key, mode: auto}
    - {name: new-key-for-other, mode: auto}
    - {name: suspicious-key, mode: auto}
nats: {max_bytes: 536870912}        # it lies in a folder of temporary files, which may be a small one in memory
http: {listen: ""}
`, addr, quote(filepath.Join(dir, "state")), names.String(), static, project, logstore, chattest.DefaultChannel, userName, home(accounts), own, assume)
	path := filepath.Join(dir, "trailwarden.yaml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func quote(s string) string { return fmt.Sprintf("%q", s) }
