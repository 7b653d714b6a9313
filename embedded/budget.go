package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	defaultScriptTimeout = 5 * time.Second // like busy-reply-threshold of Redis

	stepsPerLook = 1000
	// maxSteps ends a script in a testing/synctest bubble, where time stands still while the script
	// runs. It is about some seconds of work.
	maxSteps = 200_000_000

	maxRepeat = maxBulk // bytes that string.rep may make
)

var (
	errKilled  = errors.New("script killed by user with SCRIPT KILL")
	errStopped = errors.New("the embedded engine was closed while a script ran")
)

// budget ends a script that runs too long, that SCRIPT KILL ends, or that runs while the server is
// closed. It is the context of the interpreter. The interpreter calls Done before each instruction,
// so the budget needs no timer and no goroutine.
type budget struct {
	context.Context
	limit time.Duration

	// Only the goroutine that runs the script uses these fields.
	until time.Time
	steps int
	over  chan struct{} // closed, once the script must end
	err   error

	mu      sync.Mutex
	running bool
	wrote   bool
	stop    error // why the script must end
	closed  bool
}

// begin starts the budget of one script.
func (b *budget) begin() {
	b.until, b.steps, b.over, b.err = time.Now().Add(b.limit), 0, nil, nil
	b.mu.Lock()
	defer b.mu.Unlock()

	b.running, b.wrote, b.stop = true, false, nil
	if b.closed {
		b.stop = errStopped
	}
}

func (b *budget) end() {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.running = false
}

// writes records that the script has changed a key. SCRIPT KILL does not end such a script.
func (b *budget) writes() {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.wrote = true
}

// kill is SCRIPT KILL. busy is false if no script runs.
func (b *budget) kill() (reply any, busy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()

	switch {
	case !b.running:
		return nil, false
	case b.wrote:
		return failure("UNKILLABLE The script has written already. Its time limit will end it."), true
	}
	b.stop = errKilled
	return ok, true
}

// close ends the running script and each later one.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.closed, b.stop = true, errStopped
}

// Done returns a channel that is closed when the script must end.
func (b *budget) Done() <-chan struct{} {
	if b.steps++; b.steps%stepsPerLook == 0 {
		b.look()
	}
	return b.over
}

func (b *budget) Err() error { return b.err }

func (b *budget) look() {
	if b.over != nil {
		return
	}
	b.mu.Lock()
	b.err = b.stop
	b.mu.Unlock()
	if b.err == nil && (b.steps >= maxSteps || !time.Now().Before(b.until)) {
		b.err = fmt.Errorf("script ended: it ran for longer than %v: its writes stay", b.limit)
	}
	if b.err != nil {
		b.over = make(chan struct{})
		close(b.over)
	}
}
