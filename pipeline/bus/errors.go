package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Kinds of failure that callers branch on with errors.Is.
var (
	// ErrFenced: another writer has written to the subject since we last
	// read it. Drop what was derived from the old position, read again.
	ErrFenced = errors.New("fenced: another writer owns this subject")
	// ErrBackpressure: a stream has reached its limit. Nothing was stored;
	// stop reading the source and try again later.
	ErrBackpressure = errors.New("back-pressure: the stream is full")
	// ErrUnknown: no answer in time, so the message may be stored or not.
	ErrUnknown = errors.New("outcome unknown")
	// ErrTooLarge: the message does not fit the server's max_payload.
	ErrTooLarge = errors.New("message too large")
	// ErrDamaged: something that must be there is not. Never start empty.
	ErrDamaged = errors.New("store damaged")
	// ErrGone: a stream was deleted; always with ErrDamaged.
	ErrGone = errors.New("the stream does not exist any more (10059), somebody deleted it")
	// ErrDrift: a stream exists with settings that break a promise.
	ErrDrift = errors.New("stream settings differ")
	// ErrLocked: another process holds the store directory.
	ErrLocked = errors.New("store is in use")
	// ErrStateLocked: another process holds the state folder.
	ErrStateLocked = errors.New("state_dir is in use")
	// ErrFrozen: the server stopped writing after a disk error; only a
	// restart of the process helps.
	ErrFrozen = errors.New("store is frozen after a write error")
	// ErrDenied: the credentials lack the permission that the text names.
	ErrDenied = errors.New("permission denied")
	// ErrNotFound: there is no such message.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the bus was closed.
	ErrClosed = errors.New("bus is closed")
)

// Server error codes that nats.go has no name for.
const (
	codeStorageExceeded   = 10047 // insufficient storage resources
	codeStoreFailed       = 10077 // the store refused: maximum bytes, messages, per-subject
	codeTooManyRequests   = 10167 // ingest queue full
	codeMemoryExceeded    = 10028 // insufficient memory resources
	codeInsufficientPeers = 10005
	codeInProcess         = 10158 // the message id waits for the servers of a cluster to agree
)

// classify turns a JetStream error into one of the kinds above, or returns it
// as it is when none fits; retry says that the same request may be sent again.
func classify(err error) (kind error, retry bool) {
	if err == nil {
		return nil, false
	}
	var api *jetstream.APIError
	var jse jetstream.JetStreamError
	if !errors.As(err, &api) && errors.As(err, &jse) {
		api = jse.APIError()
	}
	if api != nil {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return ErrFenced, false
		case codeStoreFailed, codeStorageExceeded, codeMemoryExceeded:
			return ErrBackpressure, false
		case codeTooManyRequests, codeInProcess:
			return ErrUnknown, true
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return ErrTooLarge, false
		case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeConsumerNotFound:
			return ErrDamaged, false
		case jetstream.JSErrCodeMessageNotFound:
			return ErrNotFound, false
		}
		if api.Code == 503 || api.Code == 429 || api.Code == 408 || api.ErrorCode == codeInsufficientPeers {
			return ErrUnknown, true
		}
		return nil, false
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge, false
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return ErrNotFound, false
	case errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrAuthorization):
		return nil, false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrStaleConnection):
		return ErrUnknown, true
	case errors.Is(err, nats.ErrConnectionClosed):
		return ErrClosed, false
	case strings.Contains(err.Error(), "i/o timeout"), strings.Contains(err.Error(), "broken pipe"),
		strings.Contains(err.Error(), "connection reset"):
		return ErrUnknown, true
	}
	return nil, false
}

// wrap gives an error its kind and says where it happened.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%s: %w: %w", what, ErrDamaged, ErrGone)
	}
	if kind, _ := classify(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
