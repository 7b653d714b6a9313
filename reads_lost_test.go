package redstart_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/session"
)

// A read whose answer is lost is sent again: it never ends with "outcome unknown", also if it is a
// script.
func TestReadsByScriptAreRepeatedAfterALostReply(t *testing.T) {
	t.Parallel()
	opts := cache.Options{TTL: time.Hour}
	limit := ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(3)}}
	for name, prepare := range map[string]func(t *testing.T, client *redstart.Client) (read func(context.Context) error){
		"cache.Get": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			c, err := cache.New[string](client, "users", opts)
			ok(t, err)
			return func(ctx context.Context) error { _, err := c.Get(ctx, "ada"); return err }
		},
		"cache.GetMany": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			c, err := cache.New[string](client, "users", opts)
			ok(t, err)
			return func(ctx context.Context) error { _, err := c.GetMany(ctx, []string{"ada"}); return err }
		},
		"cache.Get with a near cache": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			near := opts
			near.Near.MaxEntries = 10
			c, err := cache.New[string](client, "users", near)
			ok(t, err)
			return func(ctx context.Context) error { _, err := c.Get(ctx, "ada"); return err }
		},
		"lock.Inspect": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			l, err := lock.New(client, lock.Options{})
			ok(t, err)
			return func(ctx context.Context) error { _, err := l.Inspect(ctx, "a"); return err }
		},
		"ratelimit.Peek": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			l, err := ratelimit.New(client, "api", limit)
			ok(t, err)
			return func(ctx context.Context) error { _, err := l.Peek(ctx, "k"); return err }
		},
		"session.List": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			m, err := session.New[int](client, "web", session.Options{})
			ok(t, err)
			return func(ctx context.Context) error { _, err := m.List(ctx, "ada"); return err }
		},
		"inspect.Locks.Show": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			in, err := inspect.New(client, inspect.Options{ReadOnly: true})
			ok(t, err)
			return func(ctx context.Context) error {
				_, err := in.Locks().Show(ctx, inspect.LockID{Name: "a"})
				return err
			}
		},
		"inspect.Idempotency.Show": func(t *testing.T, client *redstart.Client) func(context.Context) error {
			in, err := inspect.New(client, inspect.Options{ReadOnly: true})
			ok(t, err)
			return func(ctx context.Context) error {
				_, err := in.Idempotency().Show(ctx, inspect.IdempotencyID{Executor: "orders", Key: "k"})
				if errors.Is(err, inspect.ErrNotFound) {
					return nil
				}
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redstarttest.Start(t)
			writer, err := cache.New[string](server.Client(), "users", opts)
			ok(t, err)
			ok(t, writer.Set(t.Context(), "ada", "Ada", cache.Tags("team")))

			read := prepare(t, server.Client())
			server.LoseReplies(1)
			if err := read(t.Context()); err != nil {
				t.Errorf("the read after one lost reply: %v", err)
			}
			server.LoseReplies(0)
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
