package ramtest

import (
	"strings"
	"sync/atomic"
	"time"
)

// Fault is one scripted misbehaviour. The zero value of each part does
// nothing, so that a test writes only what it wants.
type Fault struct {
	// What it applies to; empty is any. User and Key are those that the call
	// is about, Account that of the caller.
	API     API
	Action  string
	Account string
	User    string
	Key     string
	// Skip lets the first matches through; Times is how many are then hit:
	// 0 is one, -1 all until removed.
	Skip, Times int

	// Delay holds the answer back (and the work, unless AfterWork). It ends
	// early when the client leaves.
	Delay time.Duration
	// Refuse closes the connection without doing the work.
	Refuse bool
	// Status with Code and Message answers an error of the usual shape; with
	// Body, or with an empty Body and RawBody set, it answers that body as it
	// is, as ContentType ("text/html" by default).
	Status        int
	Code, Message string
	Denied        *AccessDenied
	Body          string
	RawBody       bool
	ContentType   string
	Header        map[string]string
	// AfterWork does the work first and then delays or answers as told: the
	// client sees a failure that was a success.
	AfterWork bool
	// DropAnswer does the work and closes the connection.
	DropAnswer bool
	// Truncate does the work, announces the whole answer, sends half, closes.
	Truncate bool
}

// AccessDenied is the AccessDeniedDetail of a NoPermission answer.
type AccessDenied struct {
	AuthAction               string `json:"AuthAction"`
	AuthPrincipalDisplayName string `json:"AuthPrincipalDisplayName,omitempty"`
	AuthPrincipalOwnerID     string `json:"AuthPrincipalOwnerId,omitempty"`
	AuthPrincipalType        string `json:"AuthPrincipalType,omitempty"`
	EncodedDiagnosticMessage string `json:"EncodedDiagnosticMessage,omitempty"`
	NoPermissionType         string `json:"NoPermissionType"` // "ImplicitDeny" or "ExplicitDeny"
	PolicyType               string `json:"PolicyType"`
}

// Throttled is a burst of n refusals as the cloud makes them: status 400.
func Throttled(action string, n int) Fault {
	return Fault{Action: action, Times: n, Status: 400, Code: "Throttling.User", Message: "Request was denied due to user flow control."}
}

// Unavailable is a burst of n answers 503.
func Unavailable(action string, n int) Fault {
	return Fault{Action: action, Times: n, Status: 503, Code: "ServiceUnavailable", Message: "The request has failed due to a temporary failure of the server."}
}

// Forbidden refuses an action for good, as a missing permission does.
func Forbidden(action string) Fault {
	return Fault{Action: action, Times: -1, Status: 403, Code: "NoPermission", Message: noPermission,
		Denied: &AccessDenied{AuthAction: "ram:" + action, AuthPrincipalType: "AssumedRoleUser", NoPermissionType: "ImplicitDeny", PolicyType: "AccountLevelIdentityBasedPolicy"}}
}

// BadGateway is an HTML answer 502, as a proxy makes it.
func BadGateway(action string) Fault {
	return Fault{Action: action, Status: 502, Body: "<html><body><h1>502 Bad Gateway</h1></body></html>"}
}

// NumericCode is an error whose Code is a number, which panics the SDK.
func NumericCode(action string) Fault {
	return Fault{Action: action, Status: 500, Body: `{"Code":500,"Message":"upstream failed"}`, ContentType: "application/json"}
}

// EmptyAnswer is a 200 without a body, which the SDK takes for success.
func EmptyAnswer(action string) Fault { return Fault{Action: action, Status: 200, RawBody: true} }

// LostAnswer does the work and drops the connection.
func LostAnswer(action string) Fault { return Fault{Action: action, DropAnswer: true} }

// FaultHandle controls an injected fault.
type FaultHandle struct {
	fault  Fault
	seen   int // under Server.fmu
	hits   atomic.Int64
	server *Server
}

// Hits is how often the fault struck.
func (h *FaultHandle) Hits() int { return int(h.hits.Load()) }

// Remove ends the fault.
func (h *FaultHandle) Remove() {
	h.server.fmu.Lock()
	defer h.server.fmu.Unlock()
	for i, f := range h.server.faults {
		if f == h {
			h.server.faults = append(h.server.faults[:i:i], h.server.faults[i+1:]...)
			return
		}
	}
}

// Inject adds a fault. Faults are tried in the order in which they were added;
// the first that matches an authenticated request is the only one to strike it.
func (s *Server) Inject(f Fault) *FaultHandle {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	h := &FaultHandle{fault: f, server: s}
	s.faults = append(s.faults, h)
	return h
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	s.faults = nil
}

func (s *Server) strike(c *call) *Fault {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	for _, h := range s.faults {
		f := &h.fault
		if f.API != "" && f.API != c.api || f.Action != "" && f.Action != c.action ||
			f.Account != "" && f.Account != c.caller.account ||
			f.User != "" && !strings.EqualFold(f.User, c.userParam()) || f.Key != "" && f.Key != c.params["UserAccessKeyId"] {
			continue
		}
		h.seen++
		times := f.Times
		if times == 0 {
			times = 1
		}
		if h.seen <= f.Skip || times > 0 && int(h.hits.Load()) >= times {
			continue
		}
		h.hits.Add(1)
		return f
	}
	return nil
}

// answers says whether the fault replaces the answer.
func (f *Fault) answers() bool { return f.Status != 0 }

func (f *Fault) reply(c *call) reply {
	r := reply{status: f.Status, header: f.Header}
	if f.Body != "" || f.RawBody {
		r.body, r.contentType = []byte(f.Body), f.ContentType
		if r.contentType == "" {
			r.contentType = "text/html"
		}
		return r
	}
	code, msg := f.Code, f.Message
	if code == "" {
		code = "InternalError"
	}
	if msg == "" {
		msg = "The request processing has failed due to some unknown error, exception or failure."
	}
	e := &apiError{status: f.Status, code: code, message: msg, denied: f.Denied}
	r.body, r.contentType, r.code = e.body(c.requestID), jsonType, code
	return r
}
