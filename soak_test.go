package redstart_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// soakWork is the repeated operation of one pattern, with counts of its results.
type soakWork struct {
	name    string
	do      func(ctx context.Context, i int) error
	done    atomic.Int64
	failed  atomic.Int64
	handled *atomic.Int64 // events that arrived
}

// expected reports whether an outage explains an error.
func expected(err error) bool {
	for _, class := range []error{
		redstart.ErrUnavailable, redstart.ErrIndeterminate, context.DeadlineExceeded,
		lock.ErrNotAcquired, lock.ErrLost, session.ErrNotFound,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// All patterns work on one client at once. The test kills and stops the server, and stalls, cuts
// and resets connections. Each pattern must work again after each fault. In the end heap and
// goroutines must return to their values after the first faults. The test takes less than a minute,
// or 10 minutes more with REDSTART_SOAK=1.
func TestSoak(t *testing.T) {
	rig.Need(t, rig.TierAll) // not parallel: it counts the goroutines of the process
	server := rig.Standalone(t, "--appendonly", "yes", "--appendfsync", "everysec")
	proxy := rig.NewProxy(t, server.Addr())
	c := open(t, redstart.Config{URL: proxy.URL(), Namespace: "app", CommandTimeout: 500 * time.Millisecond})
	works := soakWorks(t, c)
	faults := []struct {
		name  string
		cause func()
	}{
		{"stop", func() { server.Stop(); pauseFor(300 * time.Millisecond); server.Continue() }},
		{"reset", proxy.Reset},
		{"kill", func() { server.Kill(); pauseFor(200 * time.Millisecond); server.Restart() }},
		{"cut", proxy.Cut},
		{"stall", func() { proxy.Stall(); pauseFor(time.Second); proxy.Resume() }},
		{"long stop", func() { server.Stop(); pauseFor(4 * time.Second); server.Continue() }},
		{"lost replies", func() { proxy.StallReplies(); pauseFor(700 * time.Millisecond); proxy.Cut(); proxy.Resume() }},
	}
	caused := map[string]int{}
	traffic := func(d time.Duration) {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, w := range works {
			for caller := range 4 {
				wg.Go(func() { w.run(t, stop, caller) })
			}
		}
		for end := time.Now().Add(d); ; {
			for _, f := range faults {
				f.cause()
				caused[f.name]++
				for _, w := range works {
					before, arrived := w.done.Load(), w.arrived()
					rig.Eventually(t, 60*time.Second, w.name+" works after "+f.name, func() bool {
						return w.done.Load() > before+10 && (w.handled == nil || w.arrived() > arrived)
					})
				}
			}
			if time.Now().After(end) {
				break
			}
		}
		close(stop)
		wg.Wait()
	}

	traffic(0)
	heap, goroutines := soakWeight(t, c, 1<<62, 1<<30)
	traffic(time.Duration(rig.Soak(0, 600)) * time.Second)
	heapAfter, goroutinesAfter := soakWeight(t, c, 2*heap, goroutines+2)

	for _, w := range works {
		t.Logf("%s: %d done, %d failed, %d events", w.name, w.done.Load(), w.failed.Load(), w.arrived())
	}
	t.Logf("faults: %v; heap %d KiB, was %d KiB; %d goroutines, were %d", caused, heapAfter>>10, heap>>10, goroutinesAfter, goroutines)
}

func pauseFor(d time.Duration) { <-time.After(d) } // the duration of a fault, not a wait for a result

func (w *soakWork) arrived() int64 {
	if w.handled == nil {
		return 0
	}
	return w.handled.Load()
}

func (w *soakWork) run(t *testing.T, stop <-chan struct{}, caller int) {
	for i := caller; ; i += 4 {
		select {
		case <-stop:
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(20+rand.N(1000))*time.Millisecond)
		err := w.do(ctx, i)
		cancel()
		switch {
		case err == nil:
			w.done.Add(1)
		case expected(err):
			w.failed.Add(1)
		default:
			t.Errorf("%s: %v", w.name, err)
			return
		}
		pauseFor(2 * time.Millisecond) // the test is long and does not measure speed
	}
}

// soakWeight returns the heap and the number of goroutines after the end of the traffic, as soon as
// they are below the limits.
func soakWeight(t *testing.T, c *redstart.Client, heapLimit uint64, goroutineLimit int) (heap uint64, goroutines int) {
	t.Helper()
	rig.Eventually(t, 90*time.Second, "heap and goroutines are back to where they were", func() bool {
		if c.Ping(t.Context()) != nil {
			return false
		}
		pauseFor(2 * time.Second) // background work ends
		for range 3 {             // a pool keeps its values for two collections
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap, goroutines = m.HeapAlloc, runtime.NumGoroutine()
		return heap <= heapLimit && goroutines <= goroutineLimit
	})
	return heap, goroutines
}

type soakEvent struct{ N int }

// soakWorks returns the work of each pattern on one client, with a bounded number of keys.
func soakWorks(t *testing.T, c *redstart.Client) []*soakWork {
	t.Helper()
	const keys = 500
	key := func(i int) string { return fmt.Sprint("k", i%keys) }
	near := must(cache.New[string](c, "near", cache.Options{
		TTL: time.Minute, Near: cache.NearOptions{MaxEntries: 1000, TTL: 10 * time.Second},
	}))
	large := must(cache.New[string](c, "large", cache.Options{TTL: time.Minute}))
	locker := must(lock.New(c, lock.Options{TTL: 2 * time.Second}))
	limiter := must(ratelimit.New(c, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(1_000_000)}}))
	sessions := must(session.New[int](c, "web", session.Options{}))
	body := strings.Repeat("x", 100<<10)
	load := func(value string) cache.Loader[string] {
		return func(_ context.Context, key string) (string, error) { return key + value, nil }
	}

	works := []*soakWork{
		{name: "cache", do: func(ctx context.Context, i int) error {
			if i%10 == 0 {
				return near.Delete(ctx, key(i))
			}
			got, err := near.GetOrLoad(ctx, key(i), load(""))
			if err == nil && got != key(i) {
				t.Errorf("cache: %q has the value %q", key(i), got)
			}
			return err
		}},
		{name: "large values", do: func(ctx context.Context, i int) error {
			got, err := large.GetOrLoad(ctx, key(i%20), load(body))
			if err == nil && got != key(i%20)+body {
				t.Errorf("cache: %q has a value of %d bytes", key(i%20), len(got))
			}
			return err
		}},
		{name: "lock", do: func(ctx context.Context, i int) error {
			held, err := locker.Acquire(ctx, key(i%8))
			if err != nil {
				return err
			}
			return held.Release(ctx)
		}},
		{name: "rate limit", do: func(ctx context.Context, i int) error {
			_, err := limiter.Allow(ctx, key(i))
			return err
		}},
		{name: "session", do: func(ctx context.Context, i int) error {
			s, err := sessions.Create(ctx, key(i), i)
			if err != nil {
				return err
			}
			if _, err := sessions.Load(ctx, s.Token()); err != nil {
				return err
			}
			_, err = sessions.RevokeUser(ctx, key(i))
			return err
		}},
	}
	topic := events.NewTopic[soakEvent]("soak")
	for name, bus := range map[string]events.Bus{
		"live":    must(events.NewLive(c, events.LiveOptions{})),
		"durable": must(events.NewDurable(c, "orders", events.DurableOptions{})),
	} {
		w := &soakWork{name: name, handled: new(atomic.Int64)}
		w.do = func(ctx context.Context, i int) error { return topic.Publish(ctx, bus, key(i), soakEvent{i}) }
		soakSubscriber(t, bus, topic, w.handled)
		works = append(works, w)
	}
	return works
}

// soakSubscriber counts the events of a bus until the test ends.
func soakSubscriber(t *testing.T, bus events.Bus, topic events.Topic[soakEvent], handled *atomic.Int64) {
	t.Helper()
	sub, err := bus.Subscriber("s", events.SubscriberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Handle(sub, "*", func(context.Context, events.Event[soakEvent]) error { handled.Add(1); return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-sub.Ready()
}
