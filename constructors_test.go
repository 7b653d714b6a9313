package redstart_test

import (
	"strings"
	"testing"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Each constructor refuses a nil client with an error that names the client, and does not panic.
func TestConstructorsRefuseANilClient(t *testing.T) {
	t.Parallel()
	rules := []ratelimit.Rule{ratelimit.PerSecond(1)}
	for name, build := range map[string]func() (any, error){
		"cache":                 func() (any, error) { return cache.New[int](nil, "x", cache.Options{}) },
		"lock":                  func() (any, error) { return lock.New(nil, lock.Options{}) },
		"events live":           func() (any, error) { return events.NewLive(nil, events.LiveOptions{}) },
		"events durable":        func() (any, error) { return events.NewDurable(nil, "x", events.DurableOptions{}) },
		"session":               func() (any, error) { return session.New[int](nil, "x", session.Options{}) },
		"session store":         func() (any, error) { return session.NewStore(nil, "x", session.StoreOptions{}) },
		"ratelimit":             func() (any, error) { return ratelimit.New(nil, "x", ratelimit.Options{Rules: rules}) },
		"ratelimit concurrency": func() (any, error) { return ratelimit.NewConcurrency(nil, "x", ratelimit.ConcurrencyOptions{Limit: 1}) },
		"idempotency": func() (any, error) {
			return idempotency.New(nil, "x", idempotency.Options{Scope: idempotency.OneScope})
		},
	} {
		t.Run(name, func(t *testing.T) {
			pattern, _, _ := strings.Cut(name, " ")
			if _, err := build(); err == nil || !strings.HasPrefix(err.Error(), pattern+": ") || !strings.Contains(err.Error(), "client") {
				t.Errorf("got %v, want an error of %s that names the client", err, pattern)
			}
		})
	}
}
