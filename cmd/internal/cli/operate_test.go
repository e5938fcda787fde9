package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/responders"
)

// Whatever an action is about is named: a group, a policy and a trail, too.
func TestActionNamesItsTarget(t *testing.T) {
	for _, tc := range []struct {
		target responders.ActionTarget
		want   string
	}{
		{responders.ActionTarget{UserName: "alice", AccessKeyID: "LTAI5tEXAMPLEalice00001"}, "user alice of account 1000000000000001, key LTAI5tEXAMPLEalice00001"},
		{responders.ActionTarget{UserName: "alice", Params: map[string]string{"group": "admins"}}, "user alice of account 1000000000000001"},
		{responders.ActionTarget{RoleName: "deployer"}, "role deployer of account 1000000000000001"},
		{responders.ActionTarget{Params: map[string]string{"group": "admins", "policy_name": "AdministratorAccess"}}, "group admins of account 1000000000000001"},
		{responders.ActionTarget{Params: map[string]string{"policy_name": "tools", "version_id": "v1"}}, "policy tools of account 1000000000000001"},
		{responders.ActionTarget{Params: map[string]string{"trail": "audit"}}, "trail audit of account 1000000000000001"},
		{responders.ActionTarget{}, "of account 1000000000000001"},
	} {
		tc.target.AccountID = "1000000000000001"
		var out bytes.Buffer
		d := responders.ActionDetail{}
		d.Action.Target = tc.target
		printAction(&env{out: &out}, d)
		if !strings.Contains(out.String(), "\ntarget     "+tc.want+"\n") {
			t.Errorf("%+v: want %q\n%s", tc.target, tc.want, out.String())
		}
	}
}
