package cache_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// The first caller requests the lease on its own goroutine, and leaves before the server answers. A
// caller that has joined gets its value from a load under a lease. Another process then finds the
// value.
func TestC9_TheFirstCallerLeavesBeforeItsLease(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	config := redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: 20 * time.Second}
	c := on(t, dialWith(t, config), cache.Options{LoadTimeout: time.Hour})
	// the first command of a load requests its lease
	rig.Arm(t, c.Points(), "optimistic", func(string) error { return errors.New("absent") })
	if err := c.Set(t.Context(), "other", before); err != nil {
		t.Fatal(err)
	}

	server.Stop()
	leader, leave := context.WithCancel(t.Context())
	loads := 0
	first := begin(leader, c, "1", constant(after, &loads)) // the first caller's loader runs for the second caller
	rig.Eventually(t, 5*time.Second, "the first caller begins", func() bool { return c.Waiting("1") == 1 })
	second := begin(t.Context(), c, "1", forbidden(t))
	rig.Eventually(t, 5*time.Second, "the second caller joins", func() bool { return c.Waiting("1") == 2 })
	leave()
	o := await(t, "the first caller, while the server is stopped", first)
	server.Continue()
	if !errors.Is(o.err, context.Canceled) {
		t.Errorf("the caller that left got %v", o.err)
	}
	if o := await(t, "the second caller", second); o.err != nil || o.value != after {
		t.Errorf("the caller that stayed got %v, %v", o.value, o.err)
	}
	if v, err := on(t, dialWith(t, config), cache.Options{}).Get(t.Context(), "1"); err != nil || v != after {
		t.Errorf("another process finds %v, %v", v, err)
	}
}

// A batch loader ignores its context. After LoadTimeout its key fails, and the batch gets the key
// that another process loads: the job continues without the loader.
func TestC7_ALoaderThatIgnoresItsContextDelaysNoOtherKey(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		const timeout = 500 * time.Millisecond
		c, other := open(t, e, cache.Options{LoadTimeout: timeout}), open(t, e, cache.Options{LoadTimeout: timeout})
		warm(t, c)
		warm(t, other)
		g := newGate()
		theirs := begin(t.Context(), other, "theirs", g.load)
		await(t, "the load of the other process", g.entered)

		entered, end := make(chan []string, 1), make(chan struct{})
		defer close(end)
		type batch struct {
			values map[string]user
			err    error
		}
		got := make(chan batch, 1)
		go func() {
			values, err := c.GetOrLoadMany(t.Context(), []string{"ours", "theirs"},
				func(_ context.Context, keys []string) (map[string]user, error) {
					entered <- keys
					<-end
					return nil, nil
				})
			got <- batch{values, err}
		}()
		if keys := await(t, "the loader", entered); len(keys) != 1 || keys[0] != "ours" {
			t.Fatalf("it loads %v", keys)
		}
		g.release <- answer{value: after}
		if o := await(t, "the caller of the other process", theirs); o.err != nil {
			t.Fatal(o.err)
		}
		b := await(t, "the batch, while its loader runs", got)
		if b.values["theirs"] != after || len(b.values) != 1 {
			t.Errorf("it got %v", b.values)
		}
		var failed *cache.BatchError
		if !errors.As(b.err, &failed) || len(failed.Keys) != 1 || !errors.Is(failed.Keys["ours"], cache.ErrLoadTimeout) {
			t.Errorf("it failed with %v", b.err)
		}
	})
}

// A loader ends its goroutine. Its callers get an error, and the next load gets the lease.
func TestC2_ALoaderThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c := open(t, e, cache.Options{LoadTimeout: time.Hour})
		first := begin(t.Context(), c, "1", func(context.Context, string) (user, error) {
			runtime.Goexit()
			return user{}, nil
		})
		if o := await(t, "the caller", first); o.err == nil {
			t.Fatalf("it got %v", o.value)
		}
		loads := 0
		if o := await(t, "the next caller", begin(t.Context(), c, "1",
			constant(after, &loads))); o.err != nil || o.value != after {
			t.Fatalf("the next caller got %v, %v", o.value, o.err)
		}
		if s := c.Stats(); s.Loads != 2 || s.LoadErrors != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}
