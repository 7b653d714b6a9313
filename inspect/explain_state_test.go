package inspect_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// After a Delete with a hold-down, Explain says that no load may store, and for how long.
func TestExplainShowsAHoldDown(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		users := newCache(t, open(t, e.URL, e.Namespace), "users", cache.Options{HoldDown: time.Minute})
		in := newInspector(t, open(t, e.URL, e.Namespace))
		set(t, users, "k")
		if why := explain(t, in, "k"); why.Lease != "" {
			t.Errorf("before the Delete: %+v", why)
		}
		must(t, users.Delete(t.Context(), "k"))
		why := explain(t, in, "k")
		if why.Lease != "hold-down" || why.LeaseLeft <= 0 || why.LeaseLeft > inspect.Duration(time.Minute) || why.Verdict != "miss" {
			t.Errorf("after the Delete: %+v", why)
		}
		_, err := users.GetOrLoad(t.Context(), "k", func(context.Context, string) (string, error) { return "loaded", nil })
		must(t, err)
		if why := explain(t, in, "k"); why.Present || why.Lease != "hold-down" {
			t.Errorf("a load has stored its value in the hold-down: %+v", why)
		}
	})
}

// An entry of another codec is a miss for the Cache of this process, and a hit for its own reader.
func TestExplainKnowsCodecs(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		set(t, newCache(t, open(t, e.URL, e.Namespace), "users", cache.Options{}), "k")
		client := open(t, e.URL, e.Namespace)
		newCache(t, client, "users", cache.Options{Codec: codec.CBOR})
		own, other := explain(t, newInspector(t, client), "k"), explain(t, newInspector(t, open(t, e.URL, e.Namespace)), "k")
		if own.Verdict != "miss" || own.Reason != "an entry of another Version or Codec" || own.Entries[0].Codec != codec.JSON.Name() {
			t.Errorf("this process: %+v", own)
		}
		if other.Verdict != "hit" || other.Reader != "any" {
			t.Errorf("any reader: %+v", other)
		}
	})
}

// Explain shows the near cache of this process in each of its states.
func TestExplainShowsTheNearCache(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s := rig.Standalone(t, "--appendonly", "yes", "--appendfsync", "always")
	client := open(t, s.URL(), "app")
	in := newInspector(t, client)
	near := func(key string) inspect.LocalCache {
		why := explain(t, in, key)
		if len(why.Local) != 1 {
			t.Fatalf("%+v", why)
		}
		return why.Local[0]
	}
	load := func(c *cache.Cache[string], key string, opts ...cache.CallOption) {
		_, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) (string, error) { return "v", nil }, opts...)
		must(t, err)
	}

	without := newCache(t, client, "users", cache.Options{})
	load(without, "k")
	if got := near("k"); got.Near != "off" || got.Codec != "json" {
		t.Errorf("without a near cache: %+v", got)
	}
	must(t, without.Close())
	users := newCache(t, client, "users", cache.Options{StaleFor: time.Hour, Version: "v2", Near: cache.NearOptions{MaxEntries: 10}})
	if got := near("k"); got.Near != "none" || got.Version != "v2" {
		t.Errorf("before the first read: %+v", got)
	}
	load(users, "k")
	if got := near("k"); got.Near != "fresh" || got.NearLeft <= 0 {
		t.Errorf("after a load: %+v", got)
	}
	load(users, "short", cache.TTL(50*time.Millisecond))
	rig.Eventually(t, 5*time.Second, "the near-cached entry is stale", func() bool { return near("short").Near == "stale" })

	s.Kill()
	s.Restart()
	rig.Eventually(t, 20*time.Second, "the server answers again", func() bool {
		_, err := in.Caches().Explain(t.Context(), "users", "k")
		return err == nil
	})
	if got := near("k"); got.Near != "suspect" {
		t.Errorf("after an outage, without a read: %+v", got)
	}
	load(users, "k")
	if got := near("k"); got.Near != "fresh" {
		t.Errorf("after the next read: %+v", got)
	}
}

// An invalidation that failed is shown as pending, for its key alone, until its replay has
// succeeded. A load that is running is shown too.
func TestExplainShowsPendingInvalidationsAndLoads(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s := rig.Standalone(t)
	client := open(t, s.URL(), "app")
	in, ctx := newInspector(t, client), t.Context()
	users := newCache(t, client, "users", cache.Options{})
	local := func(key string) inspect.LocalCache {
		why := explain(t, in, key)
		if len(why.Local) != 1 {
			t.Fatalf("%+v", why)
		}
		return why.Local[0]
	}
	set(t, users, "k")
	set(t, users, "other")
	if local("k").Pending {
		t.Error("pending before the Delete")
	}
	s.CLI("CONFIG", "SET", "min-replicas-to-write", "1")
	if err := users.Delete(ctx, "k"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	if !local("k").Pending || local("other").Pending {
		t.Errorf("after a Delete of k that failed: k %+v, another key %+v", local("k"), local("other"))
	}
	s.CLI("CONFIG", "SET", "min-replicas-to-write", "0")
	rig.Eventually(t, 20*time.Second, "the replay is confirmed", func() bool { return !local("k").Pending })

	loading, goOn, loaded := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := users.GetOrLoad(ctx, "new", func(context.Context, string) (string, error) {
			close(loading)
			<-goOn
			return "v", nil
		})
		loaded <- err
	}()
	<-loading
	if !local("new").Loading || local("other").Loading {
		t.Errorf("in a load of new: new %+v, another key %+v", local("new"), local("other"))
	}
	close(goOn)
	must(t, <-loaded)
	if local("new").Loading {
		t.Error("loading after the load")
	}
}

// An election is shown as a mutex: the leader holds it, and the candidates wait. After Break, a
// candidate leads.
func TestLockShowsAnElection(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		leads := make(chan string, 2)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		campaign := func(process string) *lock.Locker {
			l := newLocker(t, p.service, lock.Options{Process: process, TTL: time.Minute})
			e, err := l.Election("scheduler")
			must(t, err)
			go func() {
				ended <- e.Campaign(ctx, func(ctx context.Context, _ *lock.Lock) error {
					leads <- process
					<-ctx.Done()
					return ctx.Err()
				})
			}()
			return l
		}
		defer func() {
			cancel()
			for range 2 {
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("the campaign ended with %v", err)
				}
			}
		}()
		campaign("first")
		if got := <-leads; got != "first" {
			t.Fatalf("%s leads", got)
		}
		campaign("second")
		id := inspect.LockID{Name: "scheduler"}
		var shown inspect.Lock
		rig.Eventually(t, 10*time.Second, "the second process is a candidate", func() bool {
			var err error
			shown, err = p.looks.Locks().Show(t.Context(), id)
			must(t, err)
			return shown.Waiting == 1
		})
		if shown.Held != 1 || shown.Holders[0].Process != "first" || shown.Waiters[0].Process != "second" {
			t.Errorf("shown %+v", shown)
		}
		if n, err := p.repairs.Locks().Break(t.Context(), id, shown.Holders[0].ID); n != 1 || err != nil {
			t.Errorf("Break ended %d: %v", n, err)
		}
		select {
		case got := <-leads:
			if got != "second" {
				t.Errorf("after Break, %s leads", got)
			}
		case <-time.After(30 * time.Second):
			t.Error("after Break, no candidate leads")
		}
	})
}
