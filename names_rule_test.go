package redstart_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

const (
	longestName = 128  // of a cache, limiter, bus or manager, in bytes
	longestKey  = 1024 // of an entry, a limit, a lock or a channel, in bytes
)

// Each constructor with a name accepts 1 to 128 bytes, whatever they are (docs/conventions.md).
func TestNamesFollowOneRule(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	rules := []ratelimit.Rule{ratelimit.PerSecond(1)}
	for what, build := range map[string]func(name string) error{
		"cache": func(name string) error { _, err := cache.New[int](client, name, cache.Options{}); return err },
		"events": func(name string) error {
			_, err := events.NewDurable(client, name, events.DurableOptions{})
			return err
		},
		"session": func(name string) error { _, err := session.New[int](client, name, session.Options{}); return err },
		"session store": func(name string) error {
			_, err := session.NewStore(client, name, session.StoreOptions{})
			return err
		},
		"ratelimit": func(name string) error {
			_, err := ratelimit.New(client, name, ratelimit.Options{Rules: rules})
			return err
		},
		"ratelimit concurrency": func(name string) error {
			_, err := ratelimit.NewConcurrency(client, name, ratelimit.ConcurrencyOptions{Limit: 1})
			return err
		},
		"idempotency": func(name string) error {
			_, err := idempotency.New(client, name, idempotency.Options{Scope: idempotency.OneScope})
			return err
		},
	} {
		pattern, _, _ := strings.Cut(what, " ")
		for name, want := range map[string]string{
			"a":                                "",
			"b:{c} *\x00\xff":                  "",
			strings.Repeat("n", longestName):   "",
			strings.Repeat("n", longestName+1): "128",
			"":                                 "name",
		} {
			err := build(name)
			switch {
			case want == "" && err != nil:
				t.Errorf("%s: the name %.20q: %v", what, name, err)
			case want == "":
			case err == nil || !strings.HasPrefix(err.Error(), pattern+": ") || !strings.Contains(err.Error(), want):
				t.Errorf("%s: the name %.20q (%d bytes): got %v, want an error of %s with %q", what, name, len(name), err, pattern, want)
			}
		}
	}
}

// A key, a lock's name and a channel have up to 1,024 bytes. A longer one is ErrTooLarge.
func TestKeysFollowOneRule(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	ctx := t.Context()
	values := must(cache.New[int](client, "values", cache.Options{}))
	locker := must(lock.New(client, lock.Options{}))
	limiter := must(ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(10)}}))
	permits := must(ratelimit.NewConcurrency(client, "jobs", ratelimit.ConcurrencyOptions{Limit: 1}))
	durable := must(events.NewDurable(client, "orders", events.DurableOptions{}))
	live := must(events.NewLive(client, events.LiveOptions{}))
	topic := events.NewTopic[int]("number")

	for what, use := range map[string]func(key string) error{
		"cache":                 func(key string) error { return values.Set(ctx, key, 1) },
		"events durable":        func(key string) error { return topic.Publish(ctx, durable, key, 1) },
		"events live":           func(key string) error { return topic.Publish(ctx, live, key, 1) },
		"ratelimit":             func(key string) error { _, err := limiter.Allow(ctx, key); return err },
		"ratelimit concurrency": func(key string) error { _, err := permits.Acquire(ctx, key); return err },
		"lock": func(key string) error {
			return locker.Do(ctx, key, func(context.Context, *lock.Lock) error { return nil })
		},
	} {
		if err := use(strings.Repeat("k", longestKey)); err != nil {
			t.Errorf("%s: a key of %d bytes: %v", what, longestKey, err)
		}
		if err := use(strings.Repeat("k", longestKey+1)); !errors.Is(err, redstart.ErrTooLarge) {
			t.Errorf("%s: a key of %d bytes: got %v, want ErrTooLarge", what, longestKey+1, err)
		}
	}
}
