package responders

import (
	"maps"
	"slices"
)

// About says which parts of a target a kind of action needs. Guards judge by it.
type About uint8

// The parts.
const (
	AboutUser About = 1 << iota
	AboutKey
	AboutRole
	AboutGroup  // a group, named by the parameter "group"
	AboutPolicy // a policy document, whoever it is attached to
	AboutTrail
)

// nobody are targets that no principal is named for.
const nobody = AboutGroup | AboutPolicy | AboutTrail

// shared are targets that others depend on too.
const shared = AboutRole | AboutGroup | AboutPolicy

// Scoper is an Executor that says what its kind is about. Without it the
// kinds of the table below are known, and any other is about a user's key when
// its name says so, else about a user or a role.
type Scoper interface {
	About() About
}

// The kinds of action, from the mildest to the strongest.
const (
	KindFenceKey         = "ram.fence_key"
	KindFenceUser        = "ram.fence_user"
	KindDisableAccessKey = "ram.disable_access_key"
	KindBlockConsole     = "ram.block_console"
	KindQuarantineUser   = "ram.quarantine_user"
	KindCutRoleSessions  = "ram.cut_role_sessions"
	KindNarrowTrust      = "ram.narrow_trust"
	KindDetachPolicy     = "ram.detach_policy"
	KindSetPolicyVersion = "ram.set_default_policy_version"
	KindRemoveFromGroup  = "ram.remove_from_group"
	KindStartTrail       = "actiontrail.start_logging"
)

var aboutKind = map[string]About{
	KindFenceKey:         AboutUser | AboutKey,
	KindFenceUser:        AboutUser,
	KindDisableAccessKey: AboutUser | AboutKey,
	KindBlockConsole:     AboutUser,
	KindQuarantineUser:   AboutUser,
	KindCutRoleSessions:  AboutRole,
	KindNarrowTrust:      AboutRole,
	KindDetachPolicy:     AboutUser | AboutRole | AboutGroup,
	KindSetPolicyVersion: AboutPolicy,
	KindRemoveFromGroup:  AboutUser,
	KindStartTrail:       AboutTrail,
}

// kindAbout is what a kind is about when nobody says more.
func kindAbout(kind string) About {
	if a, ok := aboutKind[kind]; ok {
		return a
	}
	if needsKey(kind) {
		return AboutUser | AboutKey
	}
	return AboutUser | AboutRole
}

// of narrows what a kind can be about to what this action is about.
func (about About) of(a Action) About {
	if about&AboutGroup != 0 && a.Target.Params["group"] != "" {
		return AboutGroup
	}
	return about &^ AboutGroup
}

// abouts lists what each kind is about, as the machine knows it.
func abouts(exec map[string]Executor) map[string]About {
	out := maps.Clone(aboutKind)
	for kind, e := range exec {
		if s, ok := e.(Scoper); ok {
			out[kind] = s.About()
		}
	}
	return out
}

// Kinds lists the kinds of action that are known here, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(aboutKind)) }
