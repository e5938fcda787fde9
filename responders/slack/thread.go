package slack

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/responders"
)

// thread is what is known of one message's replies.
type thread struct {
	mu    sync.Mutex
	known bool // the fields below say what is in Slack
	seen  map[string]bool
	// The counter: a reply that is edited instead of adding more.
	moreID   string
	more     int
	moreLast string // key of the last batch it counted
	// owed are the lines that Post could not add.
	owed []batch
}

// batch is one reply to be: lines that are sent together, under a key that is
// the same when the same notice comes again.
type batch struct {
	key   string
	lines []string
}

// moreKey is the key of the counter.
const moreKey = "more"

// batches divides the lines of one notice into replies. Lines that come
// together share replies when there are many.
func batches(revision int, lines []string) []batch {
	size := max(1, (len(lines)+maxReplies-1)/maxReplies)
	var out []batch
	for i := 0; i < len(lines); i += size {
		part := lines[i:min(i+size, len(lines))]
		h := fnv.New64a()
		fmt.Fprintf(h, "%d/%d/", revision, i)
		h.Write([]byte(strings.Join(part, "\x00")))
		out = append(out, batch{key: strconv.FormatUint(h.Sum64(), 16), lines: part})
	}
	return out
}

// grow adds the lines of a notice to the thread, at most Config.ThreadCap
// replies, then counts in one more. Repeating it after an error adds nothing
// twice: what is there is read back when in doubt. Without must, what cannot
// be sent is kept for the next call.
func (n *Notifier) grow(ctx context.Context, t *thread, ref responders.MessageRef, notice responders.Notice, must bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := batches(notice.Alert.Revision, n.cfg.words().ThreadLines(notice.Thread))
	todo := append(t.owed, own...)
	t.owed = nil
	if len(todo) == 0 {
		return nil
	}
	left, err := n.addReplies(ctx, t, ref, notice, todo)
	if err != nil && errors.Is(err, responders.ErrInDoubt) {
		t.known = false
	}
	if err != nil {
		// With must the caller repeats the notice itself; only lines of
		// earlier notices are ours to keep.
		for _, b := range left {
			if !must || !slices.ContainsFunc(own, func(o batch) bool { return o.key == b.key }) {
				t.owed = append(t.owed, b)
			}
		}
	}
	return err
}

// addReplies returns what it did not get to.
func (n *Notifier) addReplies(ctx context.Context, t *thread, ref responders.MessageRef, notice responders.Notice, todo []batch) (left []batch, err error) {
	if !t.known {
		if err := n.readThread(ctx, t, ref, notice.Alert.ID); err != nil {
			return todo, err
		}
	}
	var overflow []batch
	for i, b := range todo {
		switch {
		case t.seen[b.key]:
		case len(t.seen) >= n.cfg.ThreadCap:
			overflow = append(overflow, b)
		default:
			if _, err := n.reply(ctx, ref, notice, b.key, b.lines, nil); err != nil {
				return todo[i:], err
			}
			t.seen[b.key] = true
			n.stats.replies.Add(1)
		}
	}
	if err := n.count(ctx, t, ref, notice, overflow); err != nil {
		return overflow, err
	}
	return nil, nil
}

// count adds what is over the cap to the counter.
func (n *Notifier) count(ctx context.Context, t *thread, ref responders.MessageRef, notice responders.Notice, overflow []batch) error {
	if len(overflow) == 0 || overflow[len(overflow)-1].key == t.moreLast {
		return nil
	}
	more, last := t.more, overflow[len(overflow)-1].key
	for _, b := range overflow {
		more += len(b.lines)
	}
	w := n.cfg.words()
	line := fmt.Sprintf(w.ThreadMore, more, w.Clock(notice.Alert.LastAt))
	extra := map[string]any{"more": more, "last": last}
	if t.moreID == "" {
		id, err := n.reply(ctx, ref, notice, moreKey, []string{line}, extra)
		if err != nil {
			return err
		}
		t.moreID = id
		n.stats.replies.Add(1)
	} else {
		fallback, blocks := n.renderer().reply([]string{line})
		err := n.edit(ctx, responders.MessageRef{Channel: ref.Channel, ID: t.moreID},
			append(options(fallback, threadMetadata(notice.Alert.ID, moreKey, extra)), slackapi.MsgOptionBlocks(blocks...)))
		if err != nil {
			return err
		}
	}
	t.more, t.moreLast = more, last
	return nil
}

func (n *Notifier) reply(ctx context.Context, ref responders.MessageRef, notice responders.Notice, key string, lines []string, extra map[string]any) (id string, err error) {
	fallback, blocks := n.renderer().reply(lines)
	out, err := n.postMessage(ctx, append(options(fallback, threadMetadata(notice.Alert.ID, key, extra)),
		slackapi.MsgOptionBlocks(blocks...), slackapi.MsgOptionTS(ref.ID)))
	return out.ID, err
}

func threadMetadata(alertID, key string, extra map[string]any) slackapi.SlackMetadata {
	p := map[string]any{"alert_id": alertID, "key": key}
	for k, v := range extra {
		p[k] = v
	}
	return slackapi.SlackMetadata{EventType: metadataThread, EventPayload: p}
}

// readThread learns from Slack which replies are there.
func (n *Notifier) readThread(ctx context.Context, t *thread, ref responders.MessageRef, alertID string) error {
	self, err := n.whoami(ctx)
	if err != nil {
		return err
	}
	now := thread{seen: map[string]bool{}}
	params := &slackapi.GetConversationRepliesParameters{ChannelID: ref.Channel, Timestamp: ref.ID, Limit: pageSize, IncludeAllMetadata: true}
	for range maxPages {
		var page []slackapi.Message
		var next string
		err := n.call(ctx, "conversations.replies", n.reads, func(ctx context.Context) (err error) {
			page, _, next, err = n.api.GetConversationRepliesContext(ctx, params)
			if err == nil && len(page) == 0 {
				err = errNoSense // a thread has at least its parent
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, m := range page {
			if m.BotID != self || m.Metadata.EventType != metadataThread || payload(m.Metadata, "alert_id") != alertID {
				continue
			}
			if key := payload(m.Metadata, "key"); key != moreKey {
				now.seen[key] = true
				continue
			}
			more, _ := m.Metadata.EventPayload["more"].(float64)
			now.moreID, now.more, now.moreLast = m.Timestamp, int(more), payload(m.Metadata, "last")
		}
		if params.Cursor = next; next == "" {
			break
		}
	}
	t.known, t.seen, t.moreID, t.more, t.moreLast = true, now.seen, now.moreID, now.more, now.moreLast
	return nil
}
