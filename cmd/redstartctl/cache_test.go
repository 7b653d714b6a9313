package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

type person struct {
	Name string `json:"name"`
}

func newUsers(t *testing.T, url, namespace string) *cache.Cache[person] {
	t.Helper()
	opts := cache.Options{TTL: time.Hour, StaleFor: time.Hour, Jitter: cache.NoJitter}
	users, err := cache.New[person](open(t, url, namespace), "users", opts)
	must(t, err)
	return users
}

// The incident "a stale value" of docs/guides/operating.md.
func TestTranscriptStaleValue(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	users := newUsers(t, s.URL(), namespace)
	inDatabase := "Ana"
	load := func() {
		_, err := users.GetOrLoad(t.Context(), "42", func(context.Context, string) (person, error) { return person{inDatabase}, nil },
			cache.Tags("team:7"))
		must(t, err)
	}
	transcript(t, "stale-value.txt", serverEnv(s.URL(), namespace), map[string]func(){
		"the cache has user 42; a script changes the database": func() { load(); inDatabase = "Anna" },
		"no service has invalidated the key":                   func() {},
		"the service has loaded user 42 again":                 load,
	})
}

func TestTranscriptCache(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	users := newUsers(t, s.URL(), namespace)
	transcript(t, "cache.txt", serverEnv(s.URL(), namespace), map[string]func(){
		"entries in several states": func() {
			must(t, users.Set(t.Context(), "tagged", person{"Ana"}, cache.Tags("team")))
			must(t, users.Set(t.Context(), "expired", person{"Bo"}))
			must(t, users.Expire(t.Context(), "expired"))
		},
	})
}

func TestTranscriptLimit(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	client := open(t, s.URL(), namespace)
	transcript(t, "limit.txt", serverEnv(s.URL(), namespace), map[string]func(){
		"a user has made 4 requests under 3/1h and has 2 permits": func() {
			l, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(3)}})
			must(t, err)
			for range 4 {
				_, err := l.Allow(t.Context(), "user:7")
				must(t, err)
			}
			c, err := ratelimit.NewConcurrency(client, "reports", ratelimit.ConcurrencyOptions{Limit: 5})
			must(t, err)
			for range 2 {
				_, err := c.Acquire(t.Context(), "user:7")
				must(t, err)
			}
		},
		"the service has set the plan pro": func() {
			l, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(3)}})
			must(t, err)
			plans, err := ratelimit.NewPlans(l, ratelimit.PlansOptions{})
			must(t, err)
			must(t, plans.Set(t.Context(), "pro", ratelimit.PerHour(30)))
		},
	})
}

// With --json, the output is JSON with the names of package inspect. No secret is in any output.
func TestOutputIsJSONWithoutSecrets(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	users := newUsers(t, s.URL(), namespace)
	must(t, users.Set(t.Context(), "42", person{"secret-value"}))
	env := serverEnv(s.URL(), namespace)
	r := execute(t, env, "cache", "explain", "users", "42", "--json")
	var why map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &why); err != nil || r.code != 0 || why["verdict"] != "hit" || why["ttl_left"] == nil {
		t.Errorf("exit code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	if strings.Contains(r.stdout+r.stderr, "secret-value") {
		t.Error("the explanation has the value")
	}

	r = execute(t, append(env, "REDIS_USERNAME=unknown", "REDIS_PASSWORD=secret-word"), "cache", "list")
	if out := r.stdout + r.stderr; r.code != exitFailed || strings.Contains(out, "secret-word") {
		t.Errorf("a wrong password: exit code %d: %s", r.code, out)
	}

	r = execute(t, env, "cache", "list", "--url", "redis://user:secret-word@127.0.0.1:1/0")
	if out := r.stdout + r.stderr; r.code != exitFailed || strings.Contains(out, "secret-word") || !strings.Contains(out, "127.0.0.1:1") {
		t.Errorf("exit code %d: %s", r.code, out)
	}
}
