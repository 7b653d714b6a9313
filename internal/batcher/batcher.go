// Package batcher groups concurrent calls of one script into one call with several keys.
//
// The server spends more on a script call than on the script's own commands: it looks up the
// script, sets up keys and arguments, and reads the clock. The batcher saves that cost under load.
// With fewer than two calls in flight, a call is sent immediately, with one key. With two calls in
// flight, new callers wait until one of them returns. Then one call is sent with the keys of all
// callers that wait.
//
// In a cluster, a script may touch one slot only. There, every call is sent immediately.
package batcher

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

const (
	// maxInFlight is how many calls are in flight at once: the server runs one while the callers of
	// the other call again.
	maxInFlight = 2

	// maxKeys is how many keys one call has: the server runs nothing else during the call.
	maxKeys = 64
)

var (
	errLate = fault.New(fault.ErrUnavailable,
		errors.New("earlier calls were not answered within the command timeout"), "retry later")
	errSilent = fault.New(fault.ErrIndeterminate,
		errors.New("no answer within the command timeout"), "the script may have been executed")
	errClosed = fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
)

// Batcher calls one script with constant arguments. Use [New].
//
// The script takes any number of keys. A key may occur more than once. The script answers width
// integers per key, in the order of the keys, in one list. If the answer is one integer, the script
// answers it without a list. An error in place of a key's first integer is the error of that key.
type Batcher struct {
	core      *core.Core
	script    *script.Script
	args      []string
	width     int  // integers per key
	unbatched bool // every call has one key, because keys may be on different nodes

	mu       sync.Mutex
	inFlight int
	queue    []*group // groups that are not sent yet; only the last has free room
}

// group is the callers that share one script call.
type group struct {
	keys     []string      // an empty string stands for a caller that left before the call was sent
	deadline time.Duration // by the client's clock: the command timeout of the first caller
	sent     bool
	left     int // callers that left before the call was sent

	done    chan struct{} // closed when the fields below are set
	err     error
	answers []core.Reply
	index   []int // caller → position of its key after compact; nil: the positions are unchanged
}

// New returns a [Batcher] for a script that answers width integers per key.
func New(c *core.Core, s *script.Script, args []string, width int) *Batcher {
	addr, known := c.Owner(0)

	return &Batcher{core: c, script: s, args: args, width: width, unbatched: !known || addr != ""}
}

// Eval runs the script for one key and stores the answer in the first width elements of into. Eval
// returns the same errors as core.Eval. The deadline of ctx applies to this caller alone. A key is
// sent at most once.
func (b *Batcher) Eval(ctx context.Context, key string, into []int64) error {
	if b.unbatched {
		return b.evalOne(ctx, key, into)
	}

	waiting, caller := b.join(key)
	if waiting == nil {
		defer b.sendNext()
		return b.evalOne(ctx, key, into)
	}

	select {
	case <-waiting.done:
		return b.answer(waiting, caller, into)
	case <-ctx.Done():
	case <-b.core.Ticks().Deadline():
	}
	return b.leave(ctx, waiting, caller, into)
}

func (b *Batcher) evalOne(ctx context.Context, key string, into []int64) error {
	keys := [1]string{key}
	msg, err := b.core.Eval(ctx, b.script, keys[:], b.args)
	if err != nil {
		return err
	}
	return Integers(msg, into[:b.width])
}

// Integers parses a script's answer for one key: one integer, or a list of len(into) integers.
func Integers(msg core.Reply, into []int64) error {
	if len(into) == 1 {
		return integer(&msg, &into[0])
	}

	all, err := msg.ToArray()
	if err == nil && len(all) != len(into) {
		err = fmt.Errorf("script answered %d integers, want %d", len(all), len(into))
	}
	if err != nil {
		return corrupt(err)
	}
	return integers(all, into)
}

func integers(all []core.Reply, into []int64) error {
	for i := range into {
		if err := integer(&all[i], &into[i]); err != nil {
			return err
		}
	}
	return nil
}

func integer(msg *core.Reply, into *int64) (err error) {
	if err := msg.Err(); err != nil { // the error of this key
		return err
	}
	if *into, err = msg.AsInt64(); err != nil {
		return corrupt(err)
	}
	return nil
}

func corrupt(err error) error {
	return fault.New(fault.ErrCorrupt, err, "check whether another script has the same digest")
}

// join returns nil if the caller may send its own call immediately. Otherwise it adds the key to
// the last group of the queue, and returns the group and the caller's index in it.
func (b *Batcher) join(key string) (*group, int) {
	b.mu.Lock()
	defer b.mu.Unlock()

	if b.inFlight < maxInFlight {
		b.inFlight++
		return nil, 0
	}

	var last *group
	if n := len(b.queue); n > 0 && len(b.queue[n-1].keys) < maxKeys {
		last = b.queue[n-1]
	} else {
		last = &group{
			keys:     make([]string, 0, maxKeys/2),
			deadline: b.core.Ticks().Now() + b.core.Timeout(),
			done:     make(chan struct{}),
		}
		b.queue = append(b.queue, last)
	}

	last.keys = append(last.keys, key)
	return last, len(last.keys) - 1
}

// sendNext runs after a call has returned. It sends the queued groups until the queue is empty. It
// sends them in a goroutine, because the caller of the returned call has its answer already.
func (b *Batcher) sendNext() {
	next := b.next()
	for next != nil {
		first := next
		if b.core.Group().Go("batch of script calls", func(ctx context.Context) {
			for g := first; g != nil; g = b.next() {
				b.send(ctx, g)
				runtime.Gosched() // callers that have their answers may call again and join one group
			}
		}) {
			return
		}

		next.finish(errClosed)
		next = b.next()
	}
}

// next removes the first group from the queue. It takes the place of the returned call in inFlight.
func (b *Batcher) next() *group {
	b.mu.Lock()
	defer b.mu.Unlock()

	if len(b.queue) == 0 {
		b.inFlight--
		return nil
	}

	first := b.queue[0]
	b.queue[0] = nil
	b.queue = b.queue[1:]

	first.sent = true
	if first.left > 0 {
		first.compact()
	}
	return first
}

// compact removes the keys of the callers that left, and sets index.
func (g *group) compact() {
	g.index = make([]int, len(g.keys))
	n := 0
	for i, key := range g.keys {
		g.index[i] = n
		if key != "" {
			g.keys[n] = key
			n++
		}
	}
	g.keys = g.keys[:n]
}

func (b *Batcher) send(ctx context.Context, g *group) {
	switch {
	case len(g.keys) == 0:
		g.finish(nil)
		return
	case b.core.Ticks().Now() >= g.deadline: // the callers are about to leave
		g.finish(errLate)
		return
	}

	msg, err := b.core.Eval(ctx, b.script, g.keys, b.args)
	if err != nil {
		g.finish(fault.Foreign(err, true)) // ctx belongs to the client, not to a caller
		return
	}

	if want := len(g.keys) * b.width; want == 1 {
		g.answers = []core.Reply{msg}
	} else if g.answers, err = msg.ToArray(); err == nil && len(g.answers) != want {
		err = fmt.Errorf("script answered %d integers for %d keys, want %d", len(g.answers), len(g.keys), want)
	}
	if err != nil {
		err = corrupt(err)
	}
	g.finish(err)
}

func (g *group) finish(err error) {
	g.err = err
	close(g.done)
}

// answer stores the answer of one caller in into.
func (b *Batcher) answer(g *group, caller int, into []int64) error {
	if g.err != nil {
		return g.err
	}

	position := caller
	if g.index != nil {
		position = g.index[caller]
	}
	return integers(g.answers[position*b.width:], into[:b.width])
}

// leave ends the wait of a caller whose context or command timeout ended. If the group is not sent
// yet, the caller's key is not sent.
func (b *Batcher) leave(ctx context.Context, g *group, caller int, into []int64) error {
	select {
	case <-g.done: // the answer arrived at the same moment
		return b.answer(g, caller, into)
	default:
	}

	b.mu.Lock()
	sent := g.sent
	if !sent {
		g.keys[caller] = ""
		g.left++
	}
	b.mu.Unlock()

	switch err := ctx.Err(); {
	case err != nil:
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, err) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return fault.Classify(err, sent)
	case sent:
		return errSilent
	}
	return errLate
}
