package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
)

// watcher records the operations that it observes.
type watcher struct {
	mu   sync.Mutex
	seen []string
}

func (w *watcher) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	return ctx, func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		result := "fine"
		if err != nil {
			result = "failed"
		}
		w.seen = append(w.seen, op.Pattern+" "+op.Name+" "+op.Verb+" "+result)
	}
}

func (w *watcher) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
}

func (w *watcher) ended() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// Each call is one span. A miss ends it without an error, and a panic of the loader ends it with
// one.
func TestEveryCallIsObserved(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	w := &watcher{}
	c := on(t, dialWith(t, redstart.Config{URL: e.URL, Namespace: e.Namespace,
		CommandTimeout: 10 * time.Second, Observer: w}), cache.Options{})
	many := func(context.Context, []string) (map[string]user, error) { return nil, errAway }
	none := func(context.Context, string) (user, error) {
		return user{}, fmt.Errorf("no row: %w", cache.ErrNotFound)
	}
	boom := func(context.Context, string) (user, error) { panic("boom") }
	memo, err := cache.Memoize(c, "none", none)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := cache.Memoize(c, "boom", boom)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]struct {
		verb, result string
		do           func() error
	}{
		"Get of nothing": {"get", "fine", func() error { _, err := c.Get(ctx, "1"); return err }},
		"GetMany":        {"get many", "fine", func() error { _, err := c.GetMany(ctx, []string{"1"}); return err }},
		"a load": {"get or load", "fine", func() error {
			_,
				err := c.GetOrLoad(ctx, "3", constant(before, new(int)))
			return err
		}},
		"not found": {"get or load", "fine", func() error { _, err := c.GetOrLoad(ctx, "4", none); return err }},
		"a failed load": {"get or load", "failed", func() error {
			_, err := c.GetOrLoad(ctx, "5", func(context.Context, string) (user, error) { return user{}, errAway })
			return err
		}},
		"a panic":        {"get or load", "failed", func() error { _, err := c.GetOrLoad(ctx, "6", boom); return err }},
		"a memo's miss":  {"get or load", "fine", func() error { _, err := memo.Call(ctx, "1"); return err }},
		"a memo's panic": {"get or load", "failed", func() error { _, err := broken.Call(ctx, "1"); return err }},
		"a failed batch": {"get or load many", "failed",
			func() error { _, err := c.GetOrLoadMany(ctx, []string{"2"}, many); return err }},
		"a panicking batch": {"get or load many", "failed", func() error {
			_, err := c.GetOrLoadMany(ctx, []string{"7"},
				func(context.Context, []string) (map[string]user, error) { panic("boom") })
			return err
		}},
		"Set":            {"set", "fine", func() error { return c.Set(ctx, "9", after) }},
		"SetMany":        {"set many", "fine", func() error { return c.SetMany(ctx, map[string]user{"9": after}) }},
		"Delete":         {"delete", "fine", func() error { return c.Delete(ctx, "9") }},
		"DeletePrefix":   {"delete prefix", "fine", func() error { return c.DeletePrefix(ctx, "9") }},
		"InvalidateTags": {"invalidate tags", "fine", func() error { return c.InvalidateTags(ctx, "tag") }},
		"Clear":          {"clear", "fine", func() error { return c.Clear(ctx) }},
	} {
		w.reset()
		failed := false
		func() {
			defer func() { failed = recover() != nil || failed }()
			if err := call.do(); err != nil && !errors.Is(err, cache.ErrNotFound) {
				failed = true
			}
		}()
		if failed != (call.result == "failed") {
			t.Errorf("%s: failed: %v", name, failed)
		}
		if want := []string{"cache users " + call.verb + " " + call.result}; !slices.Equal(w.ended(), want) {
			t.Errorf("%s: the observer saw %q, want %q", name, w.ended(), want)
		}
	}
}

// While the server can't be reached, one log line for each kind of answer says how calls are
// answered, for any number of calls.
func TestAnOutageIsLogged(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	log := &lockedBuffer{}
	client := dialWith(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t),
		CommandTimeout: 200 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log,
			&slog.HandlerOptions{Level: slog.LevelWarn}))})
	c := on(t, client, cache.Options{})
	if _, err := c.GetOrLoad(ctx, "1", constant(before, new(int))); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, "pattern=cache") {
		t.Fatalf("a healthy server, and the log says %q", text)
	}

	server.Kill()
	for i := range 200 {
		key := fmt.Sprint(i % 10)
		if _, err := c.GetOrLoad(ctx, key, constant(before, new(int))); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(ctx, key); err == nil {
			t.Fatal("no error from a server that is away")
		}
		if _, err := c.GetOrLoadMany(ctx, []string{key, key + "b"},
			func(context.Context, []string) (map[string]user, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
	}

	lines := func(word string) (found []string) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, word) {
				found = append(found, line)
			}
		}
		return found
	}
	one := func(what string, words ...string) {
		t.Helper()
		rig.Eventually(t, 10*time.Second, what+" is logged", func() bool { return len(lines(what)) > 0 })
		found := lines(what)
		if len(found) != 1 {
			t.Fatalf("600 calls without a server: %d lines, want 1: %q", len(found), found)
		}
		for _, word := range append(words, "level=WARN") {
			if !strings.Contains(found[0], word) {
				t.Errorf("the line has no %q: %s", word, found[0])
			}
		}
	}
	one("pattern=cache", "name=users", `policy="load without the server"`, "reason=", server.Addr())
	one("invalidations are pending", "cache=users", "pending=1", "error=")

	server.Restart()
	rig.Eventually(t, 10*time.Second, "the replay is logged", func() bool { return len(lines("pending any more")) == 1 })
	one("pending any more", "cache=users", "replayed=10")
}
