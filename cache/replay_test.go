package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// refusal is a server that refuses writes and answers reads, as a primary without replicas may do,
// with two processes on it.
type refusal struct {
	t            *testing.T
	server       *rig.Server
	client       *redstart.Client // of the first process
	ours, theirs *cache.Cache[user]
	pushed       *pushes // to that client

	replays chan struct{} // receives when a replay begins
	may     chan struct{} // closed: may begin
}

func newRefusal(t *testing.T, opts cache.Options) *refusal {
	t.Helper()
	r := &refusal{t: t, server: rig.Standalone(t), replays: make(chan struct{}, 10_000), may: make(chan struct{})}
	client := dial(t, r.server.URL(), "app")
	r.client = client
	r.ours, r.theirs = on(t, client, opts), on(t, dial(t, r.server.URL(), "app"), cache.Options{})
	r.pushed = listen(t, client, "app")
	rig.Arm(t, r.ours.Points(), "replay", func(string) error {
		r.replays <- struct{}{}
		select {
		case <-r.may:
		case <-time.After(30 * time.Second):
		}
		return nil
	})
	warm(t, r.ours)
	warm(t, r.theirs)
	return r
}

// refuse may be called from any goroutine.
func (r *refusal) refuse(yes bool) {
	replicas := "0"
	if yes {
		replicas = "1"
	}
	if _, err := r.server.Do("CONFIG", "SET", "min-replicas-to-write", replicas); err != nil {
		r.t.Error(err)
	}
}

// repeat lets replays run until no invalidation is pending.
func (r *refusal) repeat() {
	r.t.Helper()
	select {
	case <-r.may:
	default:
		close(r.may)
	}
	rig.Eventually(r.t, 10*time.Second, "nothing is pending", func() bool { return r.ours.Stats().PendingInvalidations == 0 })
}

// load starts a load of the other process, which will name the tag. end ends it with a value that
// is old by then.
func (r *refusal) load(tag string) (end func() error) {
	r.t.Helper()
	g := newGate()
	loading := begin(r.t.Context(), r.theirs, "1", func(ctx context.Context, key string) (user, error) {
		v, err := g.load(ctx, key)
		cache.Adjust(ctx, cache.Tags(tag))
		return v, err
	})
	await(r.t, "the load", g.entered)
	return sync.OnceValue(func() error {
		select {
		case g.release <- answer{value: before}:
		case <-time.After(10 * time.Second):
			return errors.New("the load does not go on")
		}
		select {
		case o := <-loading:
			return o.err
		case <-time.After(10 * time.Second):
			return errors.New("the load does not end")
		}
	})
}

// ends fails the test unless both processes load key again.
func (r *refusal) ends(key string) {
	r.t.Helper()
	for name, c := range map[string]*cache.Cache[user]{"this process": r.ours, "another": r.theirs} {
		rig.Eventually(r.t, 10*time.Second, name+" has the new value", func() bool {
			v, err := c.GetOrLoad(r.t.Context(), key, constantLocked(after))
			return err == nil && v == after
		})
	}
}

// A loader names its tags at its end. The epoch separates it from loads that began later: it
// changes before the tags, also in a replay.
func TestC1_ReplayChangesTheEpochFirst(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, cache.Options{})
	end := r.load("late")
	r.refuse(true)
	if err := r.ours.InvalidateTags(t.Context(), "late", "other"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	await(t, "the replay", r.replays)
	r.refuse(false)
	first, met := "", false
	rig.Arm(t, r.ours.Points(), "drop", func(kind string) error {
		if first == "" {
			first = kind
		}
		if kind == first || met {
			return nil
		}
		met = true
		if err := end(); err != nil { // between the first round trip and the second
			t.Error(err)
		}
		return nil
	})
	r.repeat()
	if !met {
		t.Fatal("the epoch and the tags changed in one round trip, in any order on a cluster")
	}
	r.ends("1")
}

// The epoch could not be changed, but the tags could. The tags changed too early, and are pending
// too.
func TestC1_TagsThatChangedBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, cache.Options{})
	end := r.load("late")
	r.refuse(true)
	rig.ArmOnce(t, r.ours.Points(), "drop", "tag", func() { r.refuse(false) })
	if err := r.ours.InvalidateTags(t.Context(), "late"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if v, err := r.theirs.Get(t.Context(), "1"); err != nil || v != before {
		t.Fatalf("%v, %v: the load stored nothing, and this shows nothing", v, err)
	}
	r.repeat()
	r.ends("1")
}

// A read finds no pending invalidation, and its reply is invalidated before it arrives. The near
// cache does not store it: the invalidation fails before the reservation, or before the insertion,
// or the read runs between the failure and its record.
func TestC1_PendingKeysAreNotNearCached(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, fail := range map[string]func(ctx context.Context, c *cache.Cache[user]) error{
		"Delete": func(ctx context.Context, c *cache.Cache[user]) error { return c.Delete(ctx, "1") },
		"Set":    func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "1", after) },
		"SetMany": func(ctx context.Context, c *cache.Cache[user]) error {
			return c.SetMany(ctx, map[string]user{"1": after})
		},
		"InvalidateTags": func(ctx context.Context, c *cache.Cache[user]) error { return c.InvalidateTags(ctx, "tag") },
		"Clear":          func(ctx context.Context, c *cache.Cache[user]) error { return c.Clear(ctx) },
		"DeletePrefix":   func(ctx context.Context, c *cache.Cache[user]) error { return c.DeletePrefix(ctx, "") },
	} {
		for _, point := range []string{"reserve", "commit", "pend"} {
			for _, many := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s at %s, many: %v", name, point, many), func(t *testing.T) {
					t.Parallel()
					ctx, r := t.Context(), newRefusal(t, nearby)
					if err := r.theirs.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
						t.Fatal(err)
					}
					get := func(ctx context.Context) (user, error) {
						if !many {
							return r.ours.Get(ctx, "1")
						}
						got, err := r.ours.GetMany(ctx, []string{"1"})
						return got["1"], err
					}
					read := func() {
						v, err := get(ctx)
						if name == "InvalidateTags" && errors.Is(err, redstart.ErrUnavailable) {
							return // it compared the tags after the invalidation had failed
						}
						if err != nil || v != before {
							t.Errorf("%v, %v: the caller gets what it has read", v, err)
						}
					}
					invalidate := func() {
						r.refuse(true)
						if fail(ctx, r.ours) == nil {
							t.Error("no error from a server that refuses writes")
						}
					}
					inside, other, key := read, invalidate, "1"
					if point == "pend" {
						inside, other, key = invalidate, read, ""
					}
					rig.ArmOnce(t, r.ours.Points(), point, key, other)
					inside()
					await(t, "the replay", r.replays) // it is held there: no other replay begins
					over, cancel := context.WithCancel(ctx)
					cancel()
					if v, err := get(over); err == nil {
						t.Fatalf("a pending key was near-cached: %v", v)
					}
					r.refuse(false)
					r.repeat()
					r.ends("1")
				})
			}
		}
	}
}

// A replay does not end a value that was stored after the invalidation failed.
func TestC1_AReplayKeepsALaterSet(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(ctx context.Context, c *cache.Cache[user]) error{
		"Set": func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "1", after) },
		"SetMany": func(ctx context.Context, c *cache.Cache[user]) error {
			return c.SetMany(ctx, map[string]user{"1": after})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, r := t.Context(), newRefusal(t, nearby)
			if err := r.theirs.Set(ctx, "1", before); err != nil {
				t.Fatal(err)
			}
			r.refuse(true)
			if err := r.ours.Delete(ctx, "1", "2"); err == nil {
				t.Fatal("no error from a server that refuses writes")
			}
			await(t, "the replay", r.replays)
			r.refuse(false)
			if err := set(ctx, r.ours); err != nil {
				t.Fatal(err)
			}
			if n := r.ours.Stats().PendingInvalidations; n != 1 {
				t.Fatalf("%d pending, want 1: the key that was stored since is not pending", n)
			}
			r.repeat()
			for name, c := range map[string]*cache.Cache[user]{"this process": r.ours, "another": r.theirs} {
				if v, err := c.Get(ctx, "1"); err != nil || v != after {
					t.Fatalf("%s: %v, %v: the replay ended a value that was stored later", name, v, err)
				}
			}
		})
	}
}

// An invalidation fails again while an earlier failure is replayed: the later one stays pending.
func TestC1_AnInvalidationThatFailsAgainStaysPending(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newRefusal(t, nearby)
	r.refuse(true)
	if err := r.ours.Delete(ctx, "1"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	await(t, "the replay", r.replays)
	r.refuse(false)
	rig.ArmOnce(t, r.ours.Points(), "replayed", "", func() {
		if err := r.theirs.Set(ctx, "1", before); err != nil {
			t.Error(err)
		}
		r.refuse(true)
		defer r.refuse(false)
		if r.ours.Delete(ctx, "1") == nil {
			t.Error("no error from a server that refuses writes")
		}
	})
	r.repeat()
	r.ends("1")
}

// With more pending invalidations than MaxPending, a Clear is pending in their place.
func TestC1_TooManyPendingAreAClear(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newRefusal(t, nearby)
	if err := r.theirs.SetMany(ctx, map[string]user{"1": before, "k0": before, "k5": before}); err != nil {
		t.Fatal(err)
	}
	if v, err := r.ours.Get(ctx, "1"); err != nil || v != before {
		t.Fatal(v, err)
	}
	keys := make([]string, cache.MaxPending)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	r.refuse(true)
	if err := r.ours.Delete(ctx, keys...); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	if s := r.ours.Stats(); s.PendingInvalidations != cache.MaxPending || s.FailedInvalidations != cache.MaxPending {
		t.Fatalf("%d pending of %d, want %d", s.PendingInvalidations, s.FailedInvalidations, cache.MaxPending)
	}
	if v, err := r.ours.Get(ctx, "1"); err != nil || v != before {
		t.Fatalf("%v, %v: a key that was not to be invalidated", v, err)
	}
	if err := r.ours.Delete(ctx, "one more"); err == nil {
		t.Fatal("no error from a server that refuses writes")
	}
	if s := r.ours.Stats(); s.PendingInvalidations != 1 || s.FailedInvalidations != cache.MaxPending+1 {
		t.Fatalf("%d pending of %d, want 1: the whole cache", s.PendingInvalidations, s.FailedInvalidations)
	}
	r.refuse(false)
	r.repeat()
	for _, key := range []string{"k0", "k5", "1"} {
		r.ends(key)
	}
}
