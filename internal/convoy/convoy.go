// Package convoy lets concurrent runs of one script travel together.
//
// A script call costs the server more than what the script does: finding it, setting up its keys and arguments,
// asking the clock. While calls of a convoy are on their way, those who come wait for one to be back, and then
// go as one call over all their keys. Who comes while few are on their way goes at once and alone.
//
// In a cluster, where a script may touch one slot only, everybody goes alone.
package convoy

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
	ahead   = 2  // calls of a convoy that are on their way at once: one is run while the other's callers ask again
	abreast = 64 // keys of one call: the server runs nothing else meanwhile
)

var (
	errLate   = fault.New(fault.ErrUnavailable, errors.New("the calls ahead were not answered within the command timeout"), "retry later")
	errSilent = fault.New(fault.ErrIndeterminate, errors.New("no answer within the command timeout"), "it may have been executed")
	errClosed = fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
)

// Convoy is one script with its arguments. Use New.
//
// The script takes any number of keys, a key possibly more than once, and answers so many integers for each, one after the
// other in one list; a single integer as it is. An error in the place of a key's first integer is that key's.
type Convoy struct {
	core   *core.Core
	script *script.Script
	args   []string
	width  int // integers per key
	alone  bool

	mu    sync.Mutex
	away  int
	queue []*run // which wait for one that is away; only the last has room
}

// run is one call of the script, made for all whose keys it has.
type run struct {
	keys []string
	due  time.Duration // the first caller's
	sent bool
	left int // callers who gave up before it was sent: their keys are empty

	done    chan struct{} // closed when the rest is known
	err     error
	answers []core.Reply
	at      []int // which key is a caller's, if not that at its own place
}

// New returns a convoy of calls with the same arguments, whose script answers width integers per key.
func New(c *core.Core, s *script.Script, args []string, width int) *Convoy {
	addr, known := c.Owner(0)
	return &Convoy{core: c, script: s, args: args, width: width, alone: !known || addr != ""}
}

// Eval is core.Eval for one key, with the same errors: the caller's own deadline is looked at here, and nobody else's.
// A key is sent once at most. The answer is put into the first width elements of into.
func (v *Convoy) Eval(ctx context.Context, key string, into []int64) error {
	if v.alone {
		return v.single(ctx, key, into)
	}
	r, at := v.join(key)
	if r == nil {
		defer v.back()
		return v.single(ctx, key, into)
	}
	select {
	case <-r.done:
		return v.answer(r, at, into)
	case <-ctx.Done():
	case <-v.core.Clock().Deadline():
	}
	return v.leave(ctx, r, at, into)
}

func (v *Convoy) single(ctx context.Context, key string, into []int64) error {
	keys := [1]string{key}
	msg, err := v.core.Eval(ctx, v.script, keys[:], v.args)
	if err != nil {
		return err
	}
	return Integers(msg, into[:v.width])
}

// Integers reads a script's answer for one key: one integer, or a list of as many as into has room for.
func Integers(msg core.Reply, into []int64) error {
	if len(into) == 1 {
		return integer(&msg, &into[0])
	}
	all, err := msg.ToArray()
	if err == nil && len(all) != len(into) {
		err = fmt.Errorf("%d integers, not %d", len(all), len(into))
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
	if err := msg.Err(); err != nil { // this key's
		return err
	}
	if *into, err = msg.AsInt64(); err != nil {
		return corrupt(err)
	}
	return nil
}

func corrupt(err error) error {
	return fault.New(fault.ErrCorrupt, err, "is another script stored under the same digest?")
}

// join puts a call into the last run of the queue, or returns nil if it may go at once.
func (v *Convoy) join(key string) (*run, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.away < ahead {
		v.away++
		return nil, 0
	}
	var r *run
	if n := len(v.queue); n > 0 && len(v.queue[n-1].keys) < abreast {
		r = v.queue[n-1]
	} else {
		r = &run{keys: make([]string, 0, abreast/2), due: v.core.Clock().Now() + v.core.Timeout(), done: make(chan struct{})}
		v.queue = append(v.queue, r)
	}
	r.keys = append(r.keys, key)
	return r, len(r.keys) - 1
}

// back says that a call is not away any longer. Its caller has an answer to go on with, so another goroutine makes the
// calls that waited for it, until none is left.
func (v *Convoy) back() {
	r := v.next()
	for r != nil {
		first := r
		if v.core.Group().Go("convoy of scripts", func(ctx context.Context) {
			for r := first; r != nil; r = v.next() {
				v.send(ctx, r)
				runtime.Gosched() // those who have their answers may ask again, and then go together
			}
		}) {
			return
		}
		r.finish(errClosed)
		r = v.next()
	}
}

// next takes a run out of the queue, in place of the call that is back.
func (v *Convoy) next() *run {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queue) == 0 {
		v.away--
		return nil
	}
	r := v.queue[0]
	v.queue[0] = nil
	v.queue = v.queue[1:]
	r.sent = true
	if r.left > 0 {
		r.close()
	}
	return r
}

// close drops the places of those who left.
func (r *run) close() {
	r.at = make([]int, len(r.keys))
	n := 0
	for i, key := range r.keys {
		r.at[i] = n
		if key != "" {
			r.keys[n] = key
			n++
		}
	}
	r.keys = r.keys[:n]
}

func (v *Convoy) send(ctx context.Context, r *run) {
	switch {
	case len(r.keys) == 0:
		r.finish(nil)
		return
	case v.core.Clock().Now() >= r.due: // whoever waits for it is about to leave
		r.finish(errLate)
		return
	}
	msg, err := v.core.Eval(ctx, v.script, r.keys, v.args)
	if err != nil {
		r.finish(fault.Foreign(err, true)) // ctx is nobody's own
		return
	}
	if want := len(r.keys) * v.width; want == 1 {
		r.answers = []core.Reply{msg}
	} else if r.answers, err = msg.ToArray(); err == nil && len(r.answers) != want {
		err = fmt.Errorf("%d integers for %d keys, not %d", len(r.answers), len(r.keys), want)
	}
	if err != nil {
		err = corrupt(err)
	}
	r.finish(err)
}

func (r *run) finish(err error) {
	r.err = err
	close(r.done)
}

// answer is one caller's.
func (v *Convoy) answer(r *run, at int, into []int64) error {
	if r.err != nil {
		return r.err
	}
	if r.at != nil {
		at = r.at[at]
	}
	return integers(r.answers[at*v.width:], into[:v.width])
}

// leave is for a caller whose time is over: its key does not go, if it has not gone yet.
func (v *Convoy) leave(ctx context.Context, r *run, at int, into []int64) error {
	select {
	case <-r.done: // at the same moment
		return v.answer(r, at, into)
	default:
	}
	v.mu.Lock()
	sent := r.sent
	if !sent {
		r.keys[at] = ""
		r.left++
	}
	v.mu.Unlock()
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
