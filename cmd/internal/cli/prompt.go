package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// prompt asks people and reads what they answer, a line each. A signal ends it
// at once: a read of a terminal cannot be interrupted, and is left behind.
type prompt struct {
	ctx context.Context
	w   io.Writer
	in  *bufio.Reader
}

// newPrompt asks on w. One command has one prompt, which holds what was typed
// ahead.
func newPrompt(ctx context.Context, e *env, w io.Writer) *prompt {
	return &prompt{ctx, w, bufio.NewReader(replay.Patient(ctx, e.in))}
}

// ask returns the answer without the space around it. The error is the
// context's when that ended, and io.EOF where nobody answers any more.
func (p *prompt) ask(question string) (string, error) {
	fmt.Fprint(p.w, question)
	line, err := p.in.ReadString('\n')
	if ctxErr := p.ctx.Err(); ctxErr != nil {
		fmt.Fprintln(p.w) // the shell goes on in a line of its own
		return "", ctxErr
	}
	return strings.TrimSpace(line), err
}
