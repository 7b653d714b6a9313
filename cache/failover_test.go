package cache_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// shard is a primary and its replacement.
type shard struct {
	url      string
	primary  *rig.Server
	replicas []*rig.Server
	promote  func()                // called after the end of the primary; returns when the new primary is known
	owns     func(key string) bool // whether the primary has this key
}

func shards(t *testing.T, suite func(t *testing.T, s shard)) {
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		set := rig.NewSentinel(t)
		s := shard{url: set.URL(), primary: set.Primary(), owns: func(string) bool { return true }}
		for _, server := range set.Servers() {
			if server != s.primary {
				s.replicas = append(s.replicas, server)
			}
		}
		s.promote = func() { set.NextPrimary(s.primary, 60*time.Second) }
		suite(t, s)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		set := rig.NewCluster(t)
		s := shard{url: set.URL(), primary: set.Primaries()[0]}
		s.replicas = set.Replicas(s.primary)
		s.promote = func() { set.Failover(s.primary) }
		s.owns = func(key string) bool { return set.Primary(key) == s.primary }
		suite(t, s)
	})
}

// unreplicated calls write while no replica receives anything, and ends the primary.
func (s *shard) unreplicated(t *testing.T, write, end func()) {
	t.Helper()
	rig.Eventually(t, 30*time.Second, "the replicas have caught up", func() bool {
		offset := s.primary.Info("master_repl_offset")
		for _, r := range s.replicas {
			if r.Info("master_link_status") != "up" || r.Info("slave_repl_offset") != offset {
				return false
			}
		}
		return true
	})
	for _, r := range s.replicas {
		r.Stop()
	}
	s.primary.CLI("CLIENT", "KILL", "TYPE", "replica")
	write()
	end()
	for _, r := range s.replicas {
		r.Continue()
	}
	s.promote()
}

const failoverKeys = 20

// fleet returns two processes whose near caches have every key.
func (s *shard) fleet(t *testing.T, namespace string, ttl, readers time.Duration) (keys []string, writer,
	reader *cache.Cache[user]) {
	t.Helper()
	for i := 0; len(keys) < failoverKeys; i++ {
		if key := fmt.Sprint(i); s.owns(namespace + ":cache:users:{" + key + "}") {
			keys = append(keys, key)
		}
	}
	opts := func(ttl time.Duration) cache.Options {
		return cache.Options{Jitter: cache.NoJitter, TTL: 2 * time.Hour, Near: cache.NearOptions{MaxEntries: 1000, TTL: ttl}}
	}
	patient := redstart.Config{URL: s.url, Namespace: namespace, CommandTimeout: 2 * time.Second}
	writer, reader = on(t, dialWith(t, patient), opts(ttl)), on(t, dialWith(t, patient), opts(readers))
	warm(t, writer)
	warm(t, reader)
	for _, key := range keys {
		if err := writer.Set(t.Context(), key, before); err != nil {
			t.Fatal(err)
		}
	}
	bring(t, keys, before, writer, reader)
	return keys, writer, reader
}

// bring waits until the near cache of every process has every key.
func bring(t *testing.T, keys []string, want user, all ...*cache.Cache[user]) {
	t.Helper()
	for _, c := range all {
		for _, key := range keys {
			rig.Eventually(t, 10*time.Second, "the value is near-cached", func() bool {
				var from cache.Source
				v, err := c.GetOrLoad(t.Context(), key, constantLocked(want), cache.From(&from))
				return err == nil && v == want && from == cache.FromNear
			})
		}
	}
}

// answered waits until a process gets its answers from the new primary.
func answered(t *testing.T, key string, c *cache.Cache[user]) {
	t.Helper()
	rig.Eventually(t, 60*time.Second, "the new primary answers", func() bool {
		served := func() int64 { s := c.Stats(); return s.Hits + s.Misses + s.NegativeHits }
		was := served()
		_, err := c.Get(t.Context(), key)
		return (err == nil || errors.Is(err, cache.ErrNotFound)) && served() > was // not a suspect near-cached entry (C4)
	})
}

// TestC1_LimitOfAFailover shows a limit of C1. Invalidations that no replica had when the primary
// died are lost. Their entries are valid again, until their TTL or until the invalidations are
// repeated. No near cache keeps the last writes of the dead primary.
func TestC1_LimitOfAFailover(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	shards(t, func(t *testing.T, s shard) {
		ctx, namespace := t.Context(), rig.Prefix(t)
		keys, writer, reader := s.fleet(t, namespace, time.Hour, time.Hour)
		tag := "t"
		for !s.owns(namespace + ":cache:users:{" + tag + "}:tag") {
			tag += "t"
		}
		if err := writer.Set(ctx, "tagged", before, cache.Tags(tag)); err != nil {
			t.Fatal(err)
		}
		s.unreplicated(t, func() {
			if err := writer.InvalidateTags(ctx, tag); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "the tag's entry has ended", func() bool {
				_, err := reader.Get(ctx, "tagged")
				return errors.Is(err, cache.ErrNotFound)
			})
			for i, key := range keys {
				var err error
				if i%2 == 0 {
					err = writer.Delete(ctx, key)
				} else {
					err = writer.Set(ctx, key, after)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			bring(t, keys, after, writer, reader) // valid on the old primary
		}, s.primary.Kill)

		successor := on(t, dialWith(t, redstart.Config{URL: s.url, Namespace: namespace,
			CommandTimeout: 2 * time.Second}), cache.Options{})
		answered(t, keys[0], successor)
		back := 0
		for _, key := range keys {
			if v, err := successor.Get(ctx, key); err == nil && v == before {
				back++
			}
		}
		t.Logf("%d of %d acknowledged invalidations are lost with a primary, because no replica had them", back, len(keys))
		if back != len(keys) {
			t.Errorf("%d of %d: this run did not show the limit", back, len(keys))
		}
		if v, err := successor.Get(ctx, "tagged"); err != nil || v != before {
			t.Errorf("%v, %v: the tag's invalidation was not lost, and this run did not show the limit", v, err)
		}
		for name, c := range map[string]*cache.Cache[user]{"the writer": writer, "the reader": reader} {
			answered(t, keys[0], c)
			for _, key := range keys {
				var from cache.Source
				v, err := c.GetOrLoad(ctx, key, constantLocked(after), cache.From(&from))
				if err != nil || v != before {
					t.Errorf("%s: %s: %v from %v, %v: the server has another value", name, key, v, from, err)
				}
			}
		}
		// The invalidations are repeated and hold in all processes. The new primary does not have
		// the scripts yet.
		again := func(what string, invalidate func() error) {
			t.Helper()
			// One more call may use the address of the dead primary.
			rig.Eventually(t, 20*time.Second, what, func() bool { return invalidate() == nil })
		}
		again("the tag is invalidated again", func() error { return writer.InvalidateTags(ctx, tag) })
		rig.Eventually(t, 10*time.Second, "the tag's entry has ended again", func() bool {
			_, err := reader.Get(ctx, "tagged")
			return errors.Is(err, cache.ErrNotFound)
		})
		for i, key := range keys {
			again(key+" is invalidated again", func() error {
				if i%2 == 0 {
					return writer.Delete(ctx, key)
				}
				return writer.Set(ctx, key, after)
			})
		}
		bring(t, keys, after, writer, reader)
		if v, err := successor.Get(ctx, keys[0]); err != nil || v != after {
			t.Errorf("%v, %v: nothing was stored on the new primary", v, err)
		}
	})
}

// TestC3_NearOutlivesAFrozenPrimary: the old primary hangs. Its connections stay open and push
// nothing, and clients write to the new primary. Near-cached values are served until the client
// uses the new primary, and never past Near.TTL.
func TestC3_NearOutlivesAFrozenPrimary(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	shards(t, func(t *testing.T, s shard) {
		const ttl = 20 * time.Second
		ctx, namespace := t.Context(), rig.Prefix(t)
		keys, other, reader := s.fleet(t, namespace, time.Hour, ttl)
		var frozen *rig.Stopwatch
		s.unreplicated(t, func() {}, func() {
			frozen = rig.Watch(t)
			s.primary.Stop()
		})
		successor := on(t, dialWith(t, redstart.Config{URL: s.url, Namespace: namespace,
			CommandTimeout: 2 * time.Second}), cache.Options{})
		rig.Eventually(t, 60*time.Second, "the new primary is written to",
			func() bool { return successor.Set(ctx, keys[0], after) == nil })
		written := time.Now()
		var last time.Duration
		hits := 0
		rig.Eventually(t, 60*time.Second, "the new value", func() bool {
			asked, near := time.Now(), frozen.Took() // without the delay of the machine
			v, err := reader.Get(ctx, keys[0])
			if err != nil || v != before {
				return err == nil && v == after
			}
			last = asked.Sub(written)
			hits++
			// The entries are older than the fault, and a coarse clock ends them.
			if near > ttl+ttl/4 {
				t.Fatalf("near for %v after the primary froze, with a Near.TTL of %v", near, ttl)
			}
			return false
		})
		t.Logf("%d times the old value after the new primary had another, the last %v after it", hits,
			last.Round(time.Millisecond))
		for _, key := range keys {
			if err := successor.Set(ctx, key, after); err != nil {
				t.Fatal(err)
			}
		}
		bring(t, keys, after, reader)
		rig.Eventually(t, 60*time.Second, "the process with a Near.TTL of an hour uses the new primary too",
			func() bool {
				v, err := other.Get(ctx, keys[0])
				return err == nil && v == after
			})
		s.primary.Continue()
	})
}
