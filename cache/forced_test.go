package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// pushes records the pushes that a client has received, after its caches have received them.
type pushes struct {
	keys    chan string
	flushes chan struct{}
}

// listen registers last, after the trackers of the caches.
func listen(t testing.TB, client *redstart.Client, namespace string) *pushes {
	t.Helper()
	p := &pushes{keys: make(chan string, 10_000), flushes: make(chan struct{}, 1000)}
	t.Cleanup(clientcore.Of(client).Hub().Track(namespace+":cache:users:", p))
	return p
}

func (p *pushes) Invalidate(key string) {
	select {
	case p.keys <- key:
	default:
	}
}

func (p *pushes) Flush() {
	select {
	case p.flushes <- struct{}{}:
	default:
	}
}

// forget drops the recorded pushes.
func (p *pushes) forget() {
	for len(p.keys) > 0 {
		<-p.keys
	}
	for len(p.flushes) > 0 {
		<-p.flushes
	}
}

// wait waits for a push about one key. It may be called from any goroutine.
func (p *pushes) wait(key string) error {
	deadline := time.After(10 * time.Second)
	for {
		select {
		case got := <-p.keys:
			if got == key {
				return nil
			}
		case <-deadline:
			return fmt.Errorf("no push for %s within 10s", key)
		}
	}
}

// ways are the calls that store a value in the near cache.
var ways = map[string]func(ctx context.Context, c *cache.Cache[user]) (user, error){
	"Get": func(ctx context.Context, c *cache.Cache[user]) (user, error) { return c.Get(ctx, "1") },
	"GetMany": func(ctx context.Context, c *cache.Cache[user]) (user, error) {
		got, err := c.GetMany(ctx, []string{"1"})
		return got["1"], err
	},
	"GetOrLoad": func(ctx context.Context, c *cache.Cache[user]) (user, error) {
		return c.GetOrLoad(ctx, "1", constant(before, new(int)), cache.Tags("tag"))
	},
	"GetOrLoadMany": func(ctx context.Context, c *cache.Cache[user]) (user, error) {
		got, err := c.GetOrLoadMany(ctx, []string{"1"}, func(context.Context, []string) (map[string]user, error) {
			return map[string]user{"1": before}, nil
		}, cache.Tags("tag"))
		return got["1"], err
	},
}

// The push of a change comes between the reply of a read and its insertion into the near cache.
func TestC3_PushBetweenReplyAndInsertion(t *testing.T) {
	t.Parallel()
	tracked(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := dial(t, e.URL, e.Namespace)
		ours, theirs := on(t, client, nearby), open(t, e, cache.Options{})
		pushed := listen(t, client, e.Namespace)
		warm(t, ours)
		for _, change := range []struct {
			name, pushed string
			do           func(ctx context.Context, c *cache.Cache[user]) error
			found        error
		}{
			{"Set", "{1}", func(ctx context.Context, c *cache.Cache[user]) error { return c.Set(ctx, "1", after) }, nil},
			{"Delete", "{1}", func(ctx context.Context,
				c *cache.Cache[user]) error {
				return c.Delete(ctx, "1")
			}, cache.ErrNotFound},
			{"InvalidateTags", "{tag}:tag", func(ctx context.Context,
				c *cache.Cache[user]) error {
				return c.InvalidateTags(ctx, "tag")
			}, cache.ErrNotFound},
			{"Clear", "{%}:clear", func(ctx context.Context,
				c *cache.Cache[user]) error {
				return c.Clear(ctx)
			}, cache.ErrNotFound},
		} {
			for name, bring := range ways {
				for _, stored := range []bool{true, false} {
					if !stored && (name == "Get" || name == "GetMany") {
						continue // only loads cache a value that is not on the server
					}
					what := fmt.Sprintf("%s, %s, stored before: %v", change.name, name, stored)
					nth, first := 0, 0
					if !stored {
						first = 1 // the first reply is empty
					}
					var failed error
					commit := func(key string) error {
						if key != "1" {
							return nil
						}
						if nth++; nth != first+1 {
							return nil
						}
						pushed.forget()
						if failed = change.do(ctx, theirs); failed == nil {
							failed = pushed.wait(e.Namespace + ":cache:users:" + change.pushed)
						}
						return nil
					}
					if err := ours.Delete(ctx, "1"); err != nil {
						t.Fatal(err)
					}
					if stored {
						if err := theirs.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
							t.Fatal(err)
						}
					}
					disarm := rig.Arm(t, ours.Points(), "commit", commit)
					v, err := bring(ctx, ours)
					disarm()
					if err != nil || v != before {
						t.Fatalf("%s: %v, %v: the caller gets what it has read", what, v, err)
					}
					if failed != nil || nth != first+1 {
						t.Fatalf("%s: %v, %d insertions", what, failed, nth)
					}
					if v, err := ours.Get(ctx, "1"); !errors.Is(err, change.found) || err == nil && v != after {
						t.Fatalf("%s: an invalidated value was near-cached: %v, %v", what, v, err)
					}
				}
			}
		}
	})
}

// The connection of the push is lost between the reply of a read and its insertion into the near
// cache.
func TestC3_LostConnectionBetweenReplyAndInsertion(t *testing.T) {
	t.Parallel()
	for name, bring := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Shared(t)
			proxy := rig.NewProxy(t, server.Addr())
			namespace, ctx := rig.Prefix(t), t.Context()
			client := dial(t, proxy.URL(), namespace)
			ours := on(t, client, nearby)
			theirs := on(t, dial(t, server.URL(), namespace), cache.Options{})
			pushed := listen(t, client, namespace)
			rig.ArmOnce(t, ours.Points(), "commit", "1", func() {
				pushed.forget()
				proxy.Cut()
				select {
				case <-pushed.flushes:
				case <-time.After(10 * time.Second):
					t.Error("no flush within 10s")
				}
				if err := theirs.Set(ctx, "1", after); err != nil {
					t.Error(err)
				}
			})
			warm(t, ours)
			if err := theirs.Set(ctx, "1", before); err != nil {
				t.Fatal(err)
			}
			if v, err := bring(ctx, ours); err != nil || v != before {
				t.Fatal(v, err)
			}
			rig.Eventually(t, 10*time.Second, "the new value", func() bool {
				v, err := ours.Get(ctx, "1")
				if err == nil && v != after {
					t.Fatalf("%v was near-cached after its connection was lost", v)
				}
				return err == nil
			})
		})
	}
}

// A read has its reply and is about to store it in the near cache. DeletePrefix then fails without
// having found a key. The near cache does not store the reply.
func TestC1_AFailedDeletePrefixVoidsReads(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout}), nearby)
	warm(t, c)
	if err := c.Set(ctx, "p:1", before); err != nil {
		t.Fatal(err)
	}
	rig.ArmOnce(t, c.Points(), "commit", "p:1", func() {
		server.Stop()
		if c.DeletePrefix(ctx, "p:") == nil {
			t.Error("no error without a server")
		}
	})
	defer server.Continue()
	if v, err := c.Get(ctx, "p:1"); err != nil || v != before {
		t.Fatalf("%v, %v: the caller gets what it has read", v, err)
	}
	if v, err := c.Get(ctx, "p:1"); err == nil {
		t.Fatalf("%v was near-cached after DeletePrefix failed", v)
	}
}

// A load stores its value during a SCAN: after the SCAN has looked for the value, and before it
// looks for the lease. The second SCAN finds the value.
func TestC1_DeletePrefixScansTwice(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	client := dial(t, server.URL(), "app")
	ours, theirs := on(t, client, cache.Options{}), on(t, dial(t, server.URL(), "app"), cache.Options{})
	fill := make(map[string]user)
	for i := range 4000 {
		fill[fmt.Sprint("p:", i)] = before
	}
	if err := ours.SetMany(ctx, fill); err != nil {
		t.Fatal(err)
	}
	key := behindTheScan(t, client, server)
	g := newGate()
	loading := begin(ctx, theirs, key, g.load)
	await(t, "the load", g.entered)
	steps := 0
	rig.Arm(t, ours.Points(), "scanned", func(string) error {
		if steps++; steps == 1 {
			g.release <- answer{value: before}
			if o := await(t, "the load's end", loading); o.err != nil {
				t.Error(o.err)
			}
		}
		return nil
	})
	if err := ours.DeletePrefix(ctx, "p:"); err != nil {
		t.Fatal(err)
	}
	if stored := theirs.Stats(); stored.LeaseLost != 0 || steps < 4 {
		t.Fatalf("the load did not get behind the scan: %+v, %d steps", stored, steps)
	}
	for name, c := range map[string]*cache.Cache[user]{"this process": ours, "the loader's": theirs} {
		if v, err := c.Get(ctx, key); !errors.Is(err, cache.ErrNotFound) {
			t.Fatalf("%s: a value that a load stored during the scan is left: %v, %v", name, v, err)
		}
	}
}

// behindTheScan returns a key that a SCAN looks for in this order: the value in its first step, the
// lease in its last.
func behindTheScan(t *testing.T, client *redstart.Client, server *rig.Server) string {
	t.Helper()
	ctx, r := t.Context(), rigclient.Redis(t, client)
	name := func(i int, suffix string) string { return fmt.Sprintf("app:cache:users:{p:x%d}%s", i, suffix) }
	const candidates = 400
	var all []string
	for i := range candidates {
		all = append(all, name(i, ""), name(i, ":lease"))
	}
	for _, key := range all {
		if err := r.Do(ctx, r.B().Set().Key(key).Value("?").ExSeconds(60).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	var steps [][]string
	for cursor := uint64(0); ; {
		entry, err := r.Do(ctx, r.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, entry.Elements)
		if cursor = entry.Cursor; cursor == 0 {
			break
		}
	}
	if err := r.Do(ctx, r.B().Del().Key(all...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	for i := range candidates {
		if slices.Contains(steps[0], name(i, "")) && slices.Contains(steps[len(steps)-1], name(i, ":lease")) {
			return fmt.Sprint("p:x", i)
		}
	}
	t.Fatalf("no such key: %d steps, the last with %d keys", len(steps), len(steps[len(steps)-1]))
	return ""
}
