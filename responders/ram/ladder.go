package ram

import (
	"context"
	"errors"
	"slices"

	"github.com/trailwarden/trailwarden/responders"
)

// Rung describes one kind of action to people.
type Rung struct {
	Kind        string   `json:"kind"`
	Does        string   `json:"does"`
	Undo        string   `json:"undo"`
	Permissions []string `json:"permissions"`
	Params      []string `json:"params,omitempty"`
	Note        string   `json:"note,omitempty"`
}

// rungs are examples to describe each kind with, from the mildest to the
// strongest, and what people should know of it.
var rungs = []struct {
	kind, note string
	params     map[string]string
	prior      any
}{
	{responders.KindFenceKey, "the workload goes on from its networks; allow: usual takes those that were measured", map[string]string{"allow": "198.51.100.0/24"},
		FenceState{UserName: "USER", UPN: "USER@ACCOUNT.onaliyun.com", AccessKeyID: "LTAI5tEXAMPLEkey0000001", Policy: noNetwork}},
	{responders.KindFenceUser, "every key and the console of the user, from those networks only", map[string]string{"allow": "198.51.100.0/24"}, nil},
	{responders.KindDisableAccessKey, "open role sessions of the key live on until they end", nil,
		KeyState{UserName: "USER", AccessKeyID: "LTAI5tEXAMPLEkey0000001", Status: active}},
	{responders.KindBlockConsole, "open console sessions live on until they end (quarantine stops those)", nil,
		LoginState{UserName: "USER", UPN: "USER@ACCOUNT.onaliyun.com", Status: active}},
	{responders.KindQuarantineUser, "keys, console and sessions of the user; the policy is made at deployment (deploy/ram)", nil,
		PolicyState{HolderKind: "user", Holder: "USER", PolicyType: "Custom", PolicyName: "zz-quarantine-deny-all"}},
	{responders.KindCutRoleSessions, "all sessions, new ones too, until the last one that is open now has ended", nil, nil},
	{responders.KindNarrowTrust, "no new sessions for those principals; open ones live on (cut those too)", map[string]string{"remove": "external"},
		TrustState{RoleName: "ROLE", Trust: "{…}"}},
	{responders.KindDetachPolicy, "refused when the policy denies anything: taking that away would grant", map[string]string{"policy_type": "System", "policy_name": "AdministratorAccess"},
		PolicyState{HolderKind: "user", Holder: "USER", PolicyType: "System", PolicyName: "AdministratorAccess", Attached: true}},
	{responders.KindSetPolicyVersion, "everybody who has the policy", map[string]string{"policy_name": "POLICY", "version_id": "v1"}, VersionState{PolicyName: "POLICY", VersionID: "v2"}},
	{responders.KindRemoveFromGroup, "refused when a policy of the group denies anything", map[string]string{"group": "GROUP"}, MemberState{UserName: "USER", GroupName: "GROUP", Member: true}},
	{responders.KindStartTrail, "a deleted trail has to be made again by hand", map[string]string{"trail": "TRAIL"}, TrailState{Name: "TRAIL"}},
}

// Ladder describes every kind, from the mildest to the strongest. It calls
// nothing.
func Ladder() ([]Rung, error) {
	c, err := New(Config{Credentials: func(context.Context) (string, string, string, error) { return "", "", "", errors.New("none") }})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	byKind := map[string]responders.Executor{}
	for _, e := range c.Executors() {
		byKind[e.Kind()] = e
	}
	out := make([]Rung, 0, len(rungs))
	for _, r := range rungs {
		e := byKind[r.kind]
		t := responders.ActionTarget{AccountID: "1000000000000001", Params: r.params}
		switch r.kind {
		case responders.KindCutRoleSessions, responders.KindNarrowTrust:
			t.PrincipalType, t.RoleName = typeRole, "ROLE"
		case responders.KindSetPolicyVersion, responders.KindStartTrail:
		default:
			t.PrincipalType, t.UserName, t.AccessKeyID = typeUser, "USER", "LTAI5tEXAMPLEkey0000001"
		}
		a := responders.Action{ID: "example", Kind: r.kind, Target: t}
		rung := Rung{Kind: r.kind, Does: e.Describe(a), Permissions: e.Permissions(), Note: r.note}
		if u, ok := e.(responders.UndoDescriber); ok {
			prior := r.prior
			if prior == nil {
				own := OwnPolicyState{HolderKind: "user", Holder: "USER", PolicyName: ownName(r.kind, a.ID)}
				if t.RoleName != "" {
					own.HolderKind, own.Holder = "role", "ROLE"
				}
				prior = own
			}
			rung.Undo = u.DescribeUndo(a, encode(prior))
		}
		for p := range r.params {
			rung.Params = append(rung.Params, p)
		}
		slices.Sort(rung.Params)
		out = append(out, rung)
	}
	return out, nil
}
