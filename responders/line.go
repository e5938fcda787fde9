package responders

import (
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// Line is one thing that has grown since a message was last made, without
// words: a destination says it in its reader's language (message.Words.Line).
type Line struct {
	// Say is the sentence, one of the constants below; empty for text that has
	// no language of ours (Args[0]).
	Say string
	// Args fill the sentence's places, in order: string, int, time.Time,
	// alert.Severity, State, TriageVerdict, List, Ours or Both. Text in them comes from
	// events and people and is made safe by whoever shows it.
	Args []any
	// More are said in the same breath.
	More []Line
}

// List is the argument of a sentence that lists things; Left are those that
// are not listed.
type List struct {
	Items []string
	Left  int
}

// Ours is the argument that is a sentence of ours, see InChinese.
type Ours string

// Both is the argument that has a text in each language.
type Both struct{ EN, ZH string }

// The sentences of lines.
const (
	SayStillOpen = "still_open" // since when
	SayRepeat    = "repeat"

	SaySeverity  = "severity" // was, is
	SaySource    = "source"   // address
	SayKey       = "key"
	SayTarget    = "target"
	SayCount     = "count" // how many, when last
	SayStep      = "step"  // of an action: state, by, what
	SayStepWhy   = "step_why"
	SayAck       = "ack"       // by
	SayAssigned  = "assigned"  // to, by
	SayDisowned  = "disowned"  // by
	SayClosed    = "closed"    // by, verdict
	SayReopened  = "reopened"  // by
	SayNoted     = "noted"     // by
	SayAsked     = "asked"     // whom, by, until
	SayAnswerYes = "yes"       // by
	SayAnswerNo  = "no"        // by
	SaySilent    = "silent"    // whom
	SayUnasked   = "unasked"   // whom, why
	SayWithdrawn = "withdrawn" // whom
	SayHeardBy   = "heard"     // by: who wrote down what the person said
	SayOwnWord   = "own_word"  // the answer is of the identity that the alert is about

	SayCardKey      = "card.key"    // key, user
	SayCardStatus   = "card.status" // status, when it was read: containment may be under way
	SayCardCreated  = "card.created"
	SayCardServices = "card.services"
	SayCardNetworks = "card.networks"
	SayCardPolicies = "card.policies"
	SayCardGroups   = "card.groups"
	SayCardOthers   = "card.others"
	SayCardMade     = "card.made"
	SayCardMissing  = "card.missing"

	SayRotate       = "rotate"
	SayRotateGive   = "rotate.give"
	SayRotateGiveTo = "rotate.give_to" // addresses
	SayRotateOff    = "rotate.off"     // command
	SayRotateDelete = "rotate.delete"  // command
)

// Said makes lines of texts that are said as they are.
func Said(texts ...string) []Line {
	var out []Line
	for _, t := range texts {
		out = append(out, Line{Args: []any{t}})
	}
	return out
}

func say(what string, args ...any) Line { return Line{Say: what, Args: args} }

// grown says what became new since a message was last made.
func grown(old facts, a alert.Alert) []Line {
	var out []Line
	now := factsOf(a)
	if now.Severity != old.Severity {
		out = append(out, say(SaySeverity, old.Severity, now.Severity))
	}
	if now.SourceIP != old.SourceIP && now.SourceIP != "" {
		out = append(out, say(SaySource, now.SourceIP))
	}
	if now.Key != old.Key && now.Key != "" {
		out = append(out, say(SayKey, text.MaskKey(now.Key)))
	}
	if now.Target != old.Target && now.Target != "" {
		out = append(out, say(SayTarget, now.Target))
	}
	if now.Reason != old.Reason {
		_, zh := a.Words(true)
		out = append(out, Line{Args: []any{Both{clip(a.Reason, maxReason), clip(zh, maxReason)}}})
	}
	if now.Count != old.Count {
		out = append(out, say(SayCount, a.Count, a.LastAt.UTC()))
	}
	return out
}

// told says what people did after a time.
func (t Triage) told(after time.Time) []Line {
	var out []Line
	for _, s := range t.Steps {
		if !s.At.After(after) {
			continue
		}
		var l Line
		switch s.Do {
		case DoAssign:
			if l = say(SayAssigned, s.Owner, s.By); s.Owner == "" {
				l = say(SayDisowned, s.By)
			}
		case DoClose:
			l = say(SayClosed, s.By, s.Verdict)
		default:
			l = say(triageSays[s.Do], s.By)
		}
		switch {
		case s.By == machineName:
			l.More = []Line{{Args: []any{Ours(s.Note)}}}
		case s.Note != "":
			l.More = Said(s.Note)
		}
		out = append(out, l)
	}
	return out
}

var triageSays = map[string]string{DoAcknowledge: SayAck, DoReopen: SayReopened, DoNote: SayNoted}
