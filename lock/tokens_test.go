package lock_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestK2_TokensIncrease: tokens increase through releases, ended leases, hand-offs, several names
// at once, a lost key, and a server that comes back empty.
func TestK2_TokensIncrease(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	l := newLocker(t, client, lock.Options{TTL: 300 * time.Millisecond, Group: "g"})
	var last int64
	next := func(what string, held *lock.Lock) {
		t.Helper()
		if held.Token() <= last {
			t.Fatalf("%s: token %d after %d", what, held.Token(), last)
		}
		last = held.Token()
	}
	for range 50 {
		held := mustTry(t, l, "n")
		next("after a release", held)
		mustRelease(t, held)
	}
	all, err := l.All("n", "m")
	if err != nil {
		t.Fatal(err)
	}
	held, err := all.TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next("of two names", held)
	mustRelease(t, held)
	held = mustTry(t, l, "m")
	next("of the other name", held)
	mustRelease(t, held)

	mustTry(t, l, "n")
	server.CLI("FLUSHALL")
	held = mustTry(t, l, "n")
	next("after FLUSHALL", held)
	server.Restart()
	rig.Eventually(t, 10*time.Second, "the lock is to be had from the empty server", func() bool {
		held, err = l.TryAcquire(t.Context(), "n")
		return err == nil
	})
	next("from a restarted server", held)
}

// TestK2_ClockStepsBack: a clock that steps back does not repeat a token while the name is stored.
func TestK2_ClockStepsBack(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	l := newLocker(t, open(t, server.URL(), namespace), lock.Options{})
	held := mustTry(t, l, "n")
	mustRelease(t, held)
	key := namespace + ":lock:{n}"
	// as if a clock that is one minute ahead had granted it
	ahead := held.Token() + time.Minute.Microseconds()
	state := strings.Replace(server.CLI("GET", key), strconv.FormatInt(held.Token(), 10), strconv.FormatInt(ahead, 10), 1)
	server.CLI("SET", key, state, "KEEPTTL")
	if again := mustTry(t, l, "n"); again.Token() != ahead+1 {
		t.Fatalf("token %d after %d", again.Token(), ahead)
	}
}

// TestK3_ContextEndsBeforeTheLease: whatever is between the client and the server, the context has
// ended before the server grants the lock to another caller.
func TestK3_ContextEndsBeforeTheLease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault func(s *rig.Server, p *rig.Proxy)
	}{
		{"silent network", func(_ *rig.Server, p *rig.Proxy) { p.Stall() }},
		{"replies lost", func(_ *rig.Server, p *rig.Proxy) { p.StallReplies() }},
		{"connection refused", func(_ *rig.Server, p *rig.Proxy) { p.Refuse(); p.Cut() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			proxy := rig.NewProxy(t, server.Addr())
			const ttl = time.Second
			ours := newLocker(t, open(t, proxy.URL(), "app"), lock.Options{TTL: ttl})
			theirs := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: ttl, Wait: lock.WaitForever})
			held := mustTry(t, ours, "n")
			// The lease must count from the last renewal, so the test waits for renewals.
			rig.Eventually(t, 5*time.Second, "two renewals", func() bool { return ours.Stats().Renewals >= 2 })
			tt.fault(server, proxy)
			notified := make(chan time.Time, 1)
			context.AfterFunc(held.Context(), func() { notified <- time.Now() })
			next := mustAcquire(t, theirs, "n")
			granted := time.Now()
			if !errors.Is(context.Cause(held.Context()), lock.ErrLost) {
				t.Fatalf("another has the lock, and Context's cause is %v", context.Cause(held.Context()))
			}
			at := soon(t, "the holder is notified", notified)
			t.Logf("notified %v before the next grant", granted.Sub(at))
			if !at.Before(granted) {
				t.Fatalf("notified %v after the next grant", at.Sub(granted))
			}
			if next.Token() <= held.Token() {
				t.Fatalf("token %d after %d", next.Token(), held.Token())
			}
			if err := held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
				t.Fatalf("Release of a lost lock: %v", err)
			}
			proxy.Resume()
			if err := proxy.Accept(); err != nil {
				t.Log(err) // the server was not refusing
			}
		})
	}
}

// TestK3_LockTakenAway: a key that was deleted, flushed, or given to another holder is noticed at
// the next renewal.
func TestK3_LockTakenAway(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(server *rig.Server, key string){
		"deleted": func(server *rig.Server, key string) { server.CLI("DEL", key) },
		"flushed": func(server *rig.Server, key string) { server.CLI("FLUSHALL") },
		"stolen": func(server *rig.Server, key string) {
			fields := strings.Fields(server.CLI("GET", key))
			fields[5] = "m.thief.1"
			server.CLI("SET", key, strings.Join(fields, " "), "PX", "60000")
		},
		"another type": func(server *rig.Server, key string) {
			server.CLI("DEL", key)
			server.CLI("LPUSH", key, "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			l := newLocker(t, open(t, server.URL(), "app"), lock.Options{TTL: 3 * time.Second})
			err := l.Do(t.Context(), "n", func(ctx context.Context, held *lock.Lock) error {
				take(server, "app:lock:{n}")
				<-ctx.Done()
				return context.Cause(ctx)
			})
			// The loss must come from a renewal, and not from the end of the lease.
			if !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "another owner or none") {
				t.Fatalf("Do: %v", err)
			}
			rig.Eventually(t, 5*time.Second, "the loss is counted", func() bool { return l.Stats().Lost == 1 })
		})
	}
}
