package redstart_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// If two objects of a pattern have the same name and client, each metric series appears once. A
// Prometheus handler fails if a series has two rows.
func TestMetricsOfInstancesOfOneName(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, redstart.Config{URL: e.URL, Namespace: e.Namespace})
	ctx := t.Context()
	builds := map[string]func() error{
		"cache": func() error {
			users, err := cache.New[int](c, "same", cache.Options{})
			if err != nil {
				return err
			}
			_, err = users.GetOrLoad(ctx, "1", func(context.Context, string) (int, error) { return 1, nil })
			return err
		},
		"lock": func() error {
			locker, err := lock.New(c, lock.Options{Name: "same"})
			if err != nil {
				return err
			}
			held, err := locker.Acquire(ctx, "1")
			if err != nil {
				return err
			}
			return held.Release(ctx)
		},
		"ratelimit": func() error {
			limiter, err := ratelimit.New(c, "same", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(1)}})
			if err != nil {
				return err
			}
			_, err = limiter.Allow(ctx, "1")
			return err
		},
		"ratelimit concurrency": func() error {
			_, err := ratelimit.NewConcurrency(c, "same", ratelimit.ConcurrencyOptions{Limit: 1})
			return err
		},
		"events live": func() error {
			_, err := events.NewLive(c, events.LiveOptions{})
			return err
		},
		"events durable": func() error {
			_, err := events.NewDurable(c, "same", events.DurableOptions{})
			return err
		},
		"idempotency": func() error {
			_, err := idempotency.New(c, "same", idempotency.Options{Scope: idempotency.OneScope})
			return err
		},
		"session": func() error {
			_, err := session.New[int](c, "same", session.Options{})
			return err
		},
	}
	for name, build := range builds {
		for range 2 {
			if err := build(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}

	seen := map[string]bool{}
	named := false
	for m := range c.Metrics() {
		row := m.Name
		for _, l := range m.Labels {
			row += fmt.Sprintf(",%s=%q", l.Name, l.Value)
			named = named || l.Value == "same"
		}
		if seen[row] {
			t.Errorf("%s appears twice", row)
		}
		seen[row] = true
	}
	if !named {
		t.Error("no row names an instance")
	}
}
