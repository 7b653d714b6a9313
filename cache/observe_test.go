package cache_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/observe"
)

// watcher notes the operations that it was told of.
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

func TestEveryCallIsObserved(t *testing.T) {
	t.Parallel()
	e := embeddedEngine(t)
	ctx := t.Context()
	w := &watcher{}
	c := on(t, dialWith(t, redstart.Config{URL: e.URL, Namespace: e.Namespace, CommandTimeout: 10 * time.Second, Observer: w}), cache.Options{})
	many := func(context.Context, []string) (map[string]user, error) { return nil, errAway }
	for _, call := range []struct {
		verb, result string
		do           func() error
	}{
		{"get", "failed", func() error { _, err := c.Get(ctx, "1"); return err }},
		{"get many", "fine", func() error { _, err := c.GetMany(ctx, []string{"1"}); return err }},
		{"get or load", "fine", func() error { _, err := c.GetOrLoad(ctx, "1", constant(before, new(int))); return err }},
		{"get or load many", "failed", func() error { _, err := c.GetOrLoadMany(ctx, []string{"2"}, many); return err }},
		{"set", "fine", func() error { return c.Set(ctx, "1", after) }},
		{"set many", "fine", func() error { return c.SetMany(ctx, map[string]user{"1": after}) }},
		{"delete", "fine", func() error { return c.Delete(ctx, "1") }},
		{"delete prefix", "fine", func() error { return c.DeletePrefix(ctx, "1") }},
		{"invalidate tags", "fine", func() error { return c.InvalidateTags(ctx, "tag") }},
		{"clear", "fine", func() error { return c.Clear(ctx) }},
	} {
		w.seen = nil
		if err := call.do(); (err != nil) != (call.result == "failed") {
			t.Errorf("%s: %v", call.verb, err)
		}
		if want := []string{"cache users " + call.verb + " " + call.result}; !slices.Equal(w.seen, want) {
			t.Errorf("the observer was told %q, not %q", w.seen, want)
		}
	}
}
