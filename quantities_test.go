package redstart_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/ratelimit"
)

// quantities is an observe.Recorder that keeps what it receives.
type quantities struct {
	mu  sync.Mutex
	all map[string][]time.Duration // by "lock.acquire orders wait"
}

type spanKey struct{}

func (q *quantities) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	return context.WithValue(ctx, spanKey{}, op), nil
}

func (q *quantities) Record(ctx context.Context, op observe.Operation, what observe.Quantity, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all == nil {
		q.all = map[string][]time.Duration{}
	}
	name := fmt.Sprintf("%s %v", op, what)
	if op.Subscriber != "" {
		name += " of " + op.Subscriber
	}
	if span, _ := ctx.Value(spanKey{}).(observe.Operation); span == op {
		name += " in its span"
	}
	q.all[name] = append(q.all[name], d)
}

func (q *quantities) of(name string) []time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all[name]
}

// only fails unless the recorder has received exactly one quantity of each name, between zero and
// atMost.
func (q *quantities) only(t *testing.T, atMost time.Duration, names ...string) {
	t.Helper()
	for _, name := range names {
		if got := q.of(name); len(got) != 1 || got[0] < 0 || got[0] > atMost {
			t.Errorf("%q: got %v, want one value up to %v", name, got, atMost)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.all) != len(names) {
		t.Errorf("got %v, want only %q", q.all, names)
	}
}

func TestRecorderReceivesTheWaitAndTheHoldOfALock(t *testing.T) {
	t.Parallel()
	var got quantities
	c := open(t, redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: &got})
	locker, err := lock.New(c, lock.Options{Name: "orders", Wait: lock.WaitForever})
	if err != nil {
		t.Fatal(err)
	}
	semaphore, err := locker.Semaphore("sem", 1)
	if err != nil {
		t.Fatal(err)
	}
	for what, acquire := range map[string]func() (*lock.Lock, error){
		"lock":      func() (*lock.Lock, error) { return locker.Acquire(t.Context(), "a") },
		"semaphore": func() (*lock.Lock, error) { return semaphore.Acquire(t.Context()) },
	} {
		began := time.Now()
		got.mu.Lock()
		got.all = nil
		got.mu.Unlock()
		held, err := acquire()
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan error, 1)
		go func() {
			second, err := acquire()
			if err == nil {
				err = second.Release(t.Context())
			}
			next <- err
		}()
		rig.Eventually(t, 10*time.Second, what+": the second waits", func() bool { return locker.Stats().Waiting == 1 })
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-next; err != nil {
			t.Fatal(err)
		}
		atMost := time.Since(began)
		if holds := got.of("lock.release orders hold"); len(holds) != 2 || max(holds[0], holds[1]) > atMost || min(holds[0], holds[1]) < 0 {
			t.Errorf("%s: the holds are %v, want two up to %v", what, holds, atMost)
		}
		if waits := got.of("lock.acquire orders wait in its span"); len(waits) != 1 || waits[0] <= 0 || waits[0] > atMost {
			t.Errorf("%s: the waits are %v, want one up to %v", what, waits, atMost)
		}
	}
}

// A wait that ends without the lock is recorded too: otherwise the histogram has no long waits.
func TestRecorderReceivesAWaitThatFailed(t *testing.T) {
	t.Parallel()
	var got quantities
	c := open(t, redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: &got})
	locker, err := lock.New(c, lock.Options{Name: "orders", Wait: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = locker.Acquire(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := locker.Acquire(t.Context(), "a"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatal(err)
	}
	got.only(t, time.Since(began), "lock.acquire orders wait in its span")
}

func TestRecorderReceivesTheWaitOfALimit(t *testing.T) {
	t.Parallel()
	var got quantities
	c := open(t, redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: &got})
	limiter, err := ratelimit.New(c, "api", ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 1, Window: 100 * time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 2 { // the first takes the token, the second waits
		if err := limiter.Wait(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	got.only(t, time.Since(began), "ratelimit.wait api wait in its span")
}

// The lag belongs to the first attempt, however many handlers an event has.
func TestRecorderReceivesTheLagOfAnEvent(t *testing.T) {
	t.Parallel()
	for kind, newBus := range map[string]func(c *redstart.Client) (events.Bus, error){
		"live": func(c *redstart.Client) (events.Bus, error) { return events.NewLive(c, events.LiveOptions{}) },
		"orders": func(c *redstart.Client) (events.Bus, error) {
			return events.NewDurable(c, "orders", events.DurableOptions{})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var got quantities
			c := open(t, redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: &got})
			bus, err := newBus(c)
			if err != nil {
				t.Fatal(err)
			}
			var opts events.SubscriberOptions
			if kind != "live" {
				opts.Backoff = func(int) time.Duration { return 0 }
			}
			sub, err := bus.Subscriber("mail", opts)
			if err != nil {
				t.Fatal(err)
			}
			topic, attempts := events.NewTopic[int]("quantity"), make(chan int, 10)
			for range 2 {
				if err := topic.Handle(sub, "*", func(_ context.Context, e events.Event[int]) error {
					attempts <- e.Attempt
					if e.Attempt == 1 && kind == "orders" && len(attempts) == 2 {
						return io.ErrUnexpectedEOF // the second handler of the first attempt
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]int{"live": 2, "orders": 4}[kind]

			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- sub.Run(ctx) }()
			<-sub.Ready()
			began := time.Now().Truncate(time.Millisecond) // the server stores milliseconds
			if err := topic.Publish(t.Context(), bus, "c", 1); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "all attempts", func() bool { return len(attempts) == want })
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			got.only(t, time.Since(began), "events.handle "+kind+" lag of mail in its span")
		})
	}
}

// breaking is a recorder that panics.
type breaking struct{ quantities }

func (b *breaking) Record(context.Context, observe.Operation, observe.Quantity, time.Duration) {
	panic("broken")
}

// A panic of a recorder changes no result.
func TestRecorderThatPanicsChangesNoResult(t *testing.T) {
	t.Parallel()
	c := open(t, redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: &breaking{}})
	locker, err := lock.New(c, lock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := locker.Do(t.Context(), "a", func(context.Context, *lock.Lock) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestErrorTypesAreAFixedSet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("lock: %w", redstart.ErrUnavailable), "unavailable"},
		{redstart.ErrIndeterminate, "indeterminate"},
		{redstart.ErrDenied, "denied"},
		{redstart.ErrFull, "full"},
		{redstart.ErrCorrupt, "corrupt"},
		{redstart.ErrTooLarge, "too_large"},
		{context.Canceled, "canceled"},
		{errors.Join(io.EOF, context.DeadlineExceeded), "deadline_exceeded"},
		{io.EOF, "_OTHER"},
	} {
		if got := redstart.ErrorType(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// Without a recorder, a measured quantity costs no allocation.
func TestRecordingWithoutARecorderAllocatesNothing(t *testing.T) {
	for name, observer := range map[string]observe.Observer{"no observer": nil, "no recorder": struct{ observe.Observer }{&quantities{}}} {
		c := clientcore.Of(open(t, redstart.Config{URL: rig.Shared(t).URL(), Observer: observer}))
		op := observe.Operation{Pattern: "lock", Name: "orders", Verb: "acquire"}
		if n := testing.AllocsPerRun(1000, func() {
			c.Record(t.Context(), op, observe.Wait, time.Second)
		}); n != 0 || c.Records() {
			t.Errorf("%s: %v allocations, want 0; records: %v", name, n, c.Records())
		}
	}
}
