package cache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// After Expire, the old value is served while one caller of all processes reloads it, also with
// StaleFor 0. A missing key stays missing.
func TestExpireServesStaleWhileOneReloads(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, cache.Options{NegativeTTL: time.Hour}), open(t, e, cache.Options{})
		if err := ours.Set(ctx, "1", before); err != nil {
			t.Fatal(err)
		}
		if _, err := ours.GetOrLoad(ctx, "none", notFound); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}

		if err := ours.Expire(ctx, "1", "none", "never stored"); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("Get of an expired entry: %v", err)
		}
		g := newGate()
		for _, c := range []*cache.Cache[user]{ours, theirs, ours, theirs} {
			from := cache.FromLoader
			if v, err := c.GetOrLoad(ctx, "1", g.load, cache.From(&from)); err != nil || v != before || from != cache.FromStale {
				t.Fatalf("while it is reloaded: %v, %v, from %v", v, err, from)
			}
		}
		await(t, "the reload", g.entered)
		g.release <- answer{value: after}
		rig.Eventually(t, 10*time.Second, "the new value is served", func() bool {
			v, err := theirs.GetOrLoad(ctx, "1", g.load)
			return err == nil && v == after
		})
		if n := len(g.entered); n != 0 {
			t.Errorf("%d more reloads", n)
		}
		for _, key := range []string{"none", "never stored"} {
			if v, err := theirs.GetOrLoad(ctx, key, constant(after, new(int))); err != nil || v != after {
				t.Errorf("%s: %v, %v", key, v, err)
			}
		}
	})
}

func notFound(context.Context, string) (user, error) { return user{}, cache.ErrNotFound }

// A load of any process that began before Expire returned stores nothing: its value is as old as
// the expired one.
func TestC1_ExpireOvertakesLoads(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		warm(t, ours)
		warm(t, theirs)
		for _, c := range []*cache.Cache[user]{ours, theirs} {
			g := newGate()
			loading := begin(ctx, c, "1", g.load)
			await(t, "the load", g.entered)
			if err := ours.Expire(ctx, "1"); err != nil {
				t.Fatal(err)
			}
			g.release <- answer{value: before}
			if got := await(t, "the load's caller", loading); got.err != nil || got.value != before {
				t.Fatal(got)
			}
			if _, err := ours.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("a load that Expire has overtaken stored its value: %v", err)
			}
		}
	})
}

// Near caches of all processes lose an expired entry. None of them serves it as fresh again.
func TestC3_ExpireEndsNearEntries(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, nearby), open(t, e, nearby)
		for _, c := range []*cache.Cache[user]{ours, theirs} {
			rig.Eventually(t, 10*time.Second, "the value is near-cached", func() bool {
				_, err := c.GetOrLoad(ctx, "1", constant(before, new(int)))
				return err == nil && c.Stats().NearHits > 0
			})
		}
		if err := ours.Expire(ctx, "1"); err != nil {
			t.Fatal(err)
		}
		if v, err := ours.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) { // at once: this process called Expire
			t.Errorf("%v, %v", v, err)
		}
		rig.Eventually(t, 10*time.Second, "the other process learns of it", func() bool {
			_, err := theirs.Get(ctx, "1")
			return errors.Is(err, cache.ErrNotFound)
		})
	})
}

// A push is lost with its connection. The suspect near-cached entry still ends: the server's answer
// says that it has expired.
func TestC1_AnExpiredAnswerEndsTheSuspectEntry(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy, ctx := rig.NewProxy(t, server.Addr()), t.Context()
	client := dialWith(t, redstart.Config{URL: proxy.URL(), Namespace: "app", CommandTimeout: downTimeout})
	c := on(t, client, cache.Options{StaleFor: time.Hour, Near: cache.NearOptions{MaxEntries: 100, TTL: time.Hour}})
	other := open(t, rig.Engine{URL: server.URL(), Namespace: "app"}, cache.Options{})
	if err := c.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	bring(t, []string{"1"}, before, c)
	pushed := listen(t, client, "app")
	proxy.StallReplies()
	if err := other.Expire(ctx, "1"); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	await(t, "the loss of the connection", pushed.flushes)
	proxy.Resume()
	failing := func(context.Context, string) (user, error) { return user{}, errAway }
	ask := func() (from cache.Source, err error) {
		_, err = c.GetOrLoad(ctx, "1", failing, cache.From(&from))
		return from, err
	}
	rig.Eventually(t, 10*time.Second, "the server's answer", func() bool {
		from, err := ask()
		return err == nil && from == cache.FromStale
	})
	server.Kill()
	was := c.Stats().Errors
	rig.Eventually(t, 10*time.Second, "calls without the server", func() bool {
		if from, err := ask(); err == nil && from != cache.FromStale {
			t.Fatalf("an expired value is served as fresh: from %v", from)
		}
		return c.Stats().Errors > was+10
	})
}

// While the server can't be reached, Refresh loads, or returns the loader's error. It returns no
// old value.
func TestC4_RefreshWithoutTheServer(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout}),
		cache.Options{StaleFor: time.Hour, Near: cache.NearOptions{MaxEntries: 100, TTL: time.Hour}})
	if err := c.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	bring(t, []string{"1"}, before, c)
	server.Kill()
	if v, err := c.Refresh(ctx, "1", constant(after, new(int))); err != nil || v != after {
		t.Errorf("a source that answers: %v, %v", v, err)
	}
	if v, err := c.Refresh(ctx, "1", func(context.Context, string) (user, error) {
		return user{},
			errAway
	}); !errors.Is(err, errAway) {
		t.Errorf("a source that fails: %v, %v", v, err)
	}
}

// A loader that refreshes its own key gets ErrOwnKey. A Refresh that joins another call's load does
// not take the value that it has read for a new one.
func TestRefreshOfAKeyThatIsLoaded(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		c, other := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		if _, err := c.Refresh(ctx, "own", func(ctx context.Context, key string) (user, error) {
			return c.Refresh(ctx, key, constant(after, new(int)))
		}); !errors.Is(err, cache.ErrOwnKey) {
			t.Errorf("of its own key: %v", err)
		}

		asking, goOn := make(chan struct{}), make(chan struct{})
		rig.ArmOnce(t, c.Points(), "ask", "1", func() {
			close(asking)
			<-goOn
		})
		reading := begin(ctx, c, "1", forbidden(t)) // it finds nothing, and requests the lease later
		await(t, "the request for the lease", asking)
		if err := other.Set(ctx, "1", before); err != nil {
			t.Fatal(err)
		}
		out := make(chan outcome, 1)
		go func() {
			v, err := c.Refresh(ctx, "1", constant(after, new(int)))
			out <- outcome{v, err}
		}()
		rig.Eventually(t, 10*time.Second, "Refresh joins", func() bool { return c.Waiting("1") == 2 })
		close(goOn)
		if got := await(t, "GetOrLoad", reading); got.err != nil || got.value != before {
			t.Errorf("GetOrLoad: %v", got)
		}
		if got := await(t, "Refresh", out); got.err != nil || got.value != after {
			t.Errorf("Refresh: %v", got)
		}
	})
}

// An Expire that the server did not confirm is replayed as a Delete.
func TestC1_AFailedExpireIsReplayed(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout}), cache.Options{})
	if err := c.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := c.Expire(ctx, "1"); !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
		t.Fatalf("a stopped server: %v", err)
	}
	if v, err := c.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
		t.Errorf("while it is pending: %v, %v", v, err)
	}
	server.Continue()
	rig.Eventually(t, 10*time.Second, "the replay", func() bool { return c.Stats().PendingInvalidations == 0 })
	if _, err := c.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("after the replay: %v", err)
	}
}

// A confirmed Expire does not end a pending Delete: the old value would be served as stale.
func TestC1_ExpireLeavesAPendingDelete(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, cache.Options{})
	ctx := t.Context()
	if err := r.theirs.Set(ctx, "1", before); err != nil {
		t.Fatal(err)
	}
	r.refuse(true)
	if err := r.ours.Delete(ctx, "1"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	r.refuse(false)
	if err := r.ours.Expire(ctx, "1"); err != nil {
		t.Fatal(err)
	}
	if n := r.ours.Stats().PendingInvalidations; n != 1 {
		t.Errorf("%d invalidations are pending, want 1", n)
	}
	if v, err := r.ours.GetOrLoad(ctx, "1", constant(after, new(int))); err != nil || v != after {
		t.Errorf("before the replay: %v, %v", v, err)
	}
	r.repeat()
	if _, err := r.theirs.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("after the replay: %v", err)
	}
}

// Refresh loads although a value is stored. Other callers get the stored value in the meantime. A
// load that fails leaves it, and ErrNotFound removes it.
func TestRefresh(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		ours, theirs := open(t, e, cache.Options{}), open(t, e, cache.Options{})
		if v, err := ours.Refresh(ctx, "1", constant(before, new(int))); err != nil || v != before {
			t.Fatal("of nothing:", v, err)
		}

		g := newGate()
		out := make(chan outcome, 2)
		for _, c := range []*cache.Cache[user]{ours, theirs} {
			go func() {
				v, err := c.Refresh(ctx, "1", g.load)
				out <- outcome{v, err}
			}()
		}
		await(t, "the load", g.entered)
		rig.Eventually(t, 10*time.Second, "the other process waits",
			func() bool { return ours.Stats().Waits+theirs.Stats().Waits == 1 })
		for _, c := range []*cache.Cache[user]{ours, theirs} {
			if v, err := c.GetOrLoad(ctx, "1", forbidden(t)); err != nil || v != before {
				t.Errorf("while it is refreshed: %v, %v", v, err)
			}
		}
		g.release <- answer{value: after}
		for range 2 {
			if got := await(t, "Refresh", out); got.err != nil || got.value != after {
				t.Error("Refresh:", got)
			}
		}
		if n := len(g.entered); n != 0 {
			t.Errorf("two refreshes at once made %d loads", n+1)
		}

		if _, err := theirs.Refresh(ctx, "1", func(context.Context, string) (user, error) {
			return user{},
				errAway
		}); !errors.Is(err, errAway) {
			t.Errorf("a refresh that fails: %v", err)
		}
		if v, err := ours.GetOrLoad(ctx, "1", forbidden(t)); err != nil || v != after {
			t.Errorf("after a refresh that failed: %v, %v", v, err)
		}
		if _, err := theirs.Refresh(ctx, "1", notFound); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("a refresh that finds nothing: %v", err)
		}
		if _, err := ours.Get(ctx, "1"); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("after a refresh that found nothing: %v", err)
		}
	})
}
