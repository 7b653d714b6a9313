package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/lock"
)

// Bounds of the lock story.
const (
	working  = 300 * time.Millisecond // the work of an instance on its order
	longest  = 8 * time.Second        // of a run
	reaching = 5 * time.Millisecond   // between two looks at the queue
)

// LockStory lets two instances process one order. A run with a pause cuts instance B off from Redis
// while it holds the lock.
type LockStory struct {
	a, b  *lock.Locker
	reach func(context.Context) error // asks Redis through the client of B
	cut   *Outage                     // between instance B and Redis
	turn  chan struct{}               // one run at a time
}

func newLockStory(a, b *redstart.Client, cut *Outage) (*LockStory, error) {
	s := &LockStory{reach: b.Ping, cut: cut, turn: make(chan struct{}, 1)}
	var err error
	if s.a, err = openLocks(a, "instance-A"); err != nil {
		return nil, err
	}
	s.b, err = openLocks(b, "instance-B")
	return s, err
}

// LockStep is what an instance did, and when.
type LockStep struct {
	Millis   float64 `json:"ms"` // since the start of the run
	Instance string  `json:"instance"`
	What     string  `json:"what"`  // waits, holds, paused, resumed, written, refused, unanswered, unavailable or timeout
	Token    int64   `json:"token"` // fencing token, 0 without the lock
}

// maxLockSteps is more than the steps of a run, so that no instance waits for the viewer.
const maxLockSteps = 16

// run is one run while it goes on.
type run struct {
	start time.Time
	mu    sync.Mutex // keeps the steps in order of time
	steps chan LockStep
}

func (r *run) add(instance, what string, token int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps <- LockStep{millisOf(time.Since(r.start)), instance, what, token}
}

// worker is an instance that processes the order of one run.
type worker struct {
	name  string
	locks *lock.Locker
	run   *run
	token int64
	work  func(ctx context.Context, held *lock.Lock)
}

func (w *worker) pack(ctx context.Context, held *lock.Lock) {
	w.token = held.Token()
	w.run.add(w.name, "holds", w.token)
	w.work(ctx, held)
}

// finish processes the order and adds the result.
func (w *worker) finish(ctx context.Context, order string) {
	what := "written"
	switch err := w.process(ctx, order); {
	case err == nil:
	case w.token != 0:
		what = w.outcome(ctx, order)
	case errors.Is(err, lock.ErrNotAcquired), ctx.Err() != nil:
		what = "timeout"
	default:
		what = "unavailable"
	}
	w.run.add(w.name, what, w.token)
}

// outcome returns what happened to the write of a holder that got an error. It can be stored: the
// lock can be lost after the write. Redis refuses a write only after the write of a later holder.
func (w *worker) outcome(ctx context.Context, order string) string {
	switch value, _, err := w.locks.FencedGet(ctx, order); {
	case err != nil || len(value) == 0:
		return "unanswered"
	case string(value) == w.name:
		return "written"
	default:
		return "refused"
	}
}

// Run processes a new order in both instances: B gets the lock, and A waits. With pause, B is cut
// off from Redis until A has finished. Run calls show with each step, in order of time. It returns
// the instance whose write Redis has, "" if there is none.
func (s *LockStory) Run(ctx context.Context, pause bool, show func(LockStep)) (written string, err error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("demo: lock story: wait for the run before: %w", ctx.Err())
	}
	r := &run{start: time.Now(), steps: make(chan LockStep, maxLockSteps)}
	order, held, done := "order:"+rand.Text(), make(chan struct{}), make(chan struct{})
	begun := sync.OnceFunc(func() { close(held) })
	waiter := &worker{name: "A", locks: s.a, run: r, work: rest}
	holder := &worker{name: "B", locks: s.b, run: r, work: func(ctx context.Context, l *lock.Lock) {
		begun()
		awaitQueue(ctx, s.b, order)
		if pause {
			s.pause(r, l, done)
			return
		}
		rest(ctx, l)
	}}
	var both sync.WaitGroup
	both.Go(func() {
		defer begun() // also if B does not get the lock
		holder.finish(ctx, order)
	})
	both.Go(func() {
		defer close(done)
		<-held
		r.add("A", "waits", 0)
		waiter.finish(ctx, order)
	})
	go func() {
		both.Wait()
		close(r.steps)
	}()
	for step := range r.steps {
		show(step)
	}

	value, _, err := s.a.FencedGet(ctx, order)
	if err != nil && !noAnswer(err) {
		return "", err
	}
	return string(value), nil
}

// rest is the work of an instance. It ends early with the lock.
func rest(ctx context.Context, _ *lock.Lock) {
	timer := time.NewTimer(working)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// awaitQueue waits until another instance waits for the lock.
func awaitQueue(ctx context.Context, locks *lock.Locker, order string) {
	ticker := time.NewTicker(reaching)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if info, err := locks.Inspect(ctx, order); err == nil && info.Waiting > 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// pause cuts instance B off until A has finished, and then waits until B reaches Redis again. B
// does not look at its context, as a paused process can't.
func (s *LockStory) pause(r *run, held *lock.Lock, done <-chan struct{}) {
	s.cut.Stop()
	r.add("B", "paused", held.Token())
	<-done
	s.cut.Resume()
	ctx, cancel := context.WithTimeout(context.Background(), longest/2)
	defer cancel()
	for s.reach(ctx) != nil && ctx.Err() == nil {
		select {
		case <-time.After(reaching):
		case <-ctx.Done():
		}
	}
	r.add("B", "resumed", held.Token())
}
