package redstart_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// managed is a server, or a proxy before a server, that refuses a part of what Redstart asks for.
type managed struct {
	name     string
	start    func(t *testing.T) string // returns the URL
	cfg      redstart.Config           // what the user sets for it
	tracking bool                      // near caches are on
	codes    []string                  // of the warnings that explain what is off
}

var (
	noHello  = []string{"--rename-command", "HELLO", "RENAMED"}
	noProto  = map[string]string{"HELLO": "NOPROTO unsupported protocol version"}
	resp2    = map[string]string{"HELLO": "ERR unknown command", "CLIENT": "ERR unknown command", "INFO": "ERR unknown command"}
	hangs    = map[string]string{"HELLO": "", "CLIENT": "ERR unknown command", "INFO": "ERR unknown command"}
	stated   = redstart.Capabilities{Server: "redis", Version: "7.0.0", ShardedPubSub: true}
	assuming = redstart.Config{Assume: stated}
)

// asUser starts a server with a user that may not execute some commands, and returns its URL.
func asUser(t *testing.T, rules []string, args ...string) string {
	s := rig.Standalone(t, args...)
	s.CLI(append([]string{"ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all"}, rules...)...)
	return s.URLAs("ada", "secret")
}

var managedServers = []managed{
	{name: "nothing refused", tracking: true,
		start: func(t *testing.T) string { return rig.Shared(t).URL() }},
	{name: "HELLO refused", codes: []string{"protocol"},
		start: func(t *testing.T) string { return asUser(t, nil, noHello...) }},
	{name: "CLIENT refused", codes: []string{"tracking"},
		start: func(t *testing.T) string { return asUser(t, []string{"-client"}) }},
	{name: "INFO refused", tracking: true, codes: []string{"info"},
		start: func(t *testing.T) string { return asUser(t, []string{"-info"}) }},
	{name: "all three refused", codes: []string{"info", "protocol"},
		start: func(t *testing.T) string { return asUser(t, []string{"-client", "-info"}, noHello...) }},
	{name: "all three refused, assumed", cfg: assuming, codes: []string{"assumed", "protocol"},
		start: func(t *testing.T) string { return asUser(t, []string{"-client", "-info"}, noHello...) }},
	{name: "RESP2 by configuration", cfg: redstart.Config{Protocol: 2}, codes: []string{"protocol"},
		start: func(t *testing.T) string { return rig.Shared(t).URL() }},
	{name: "cluster, RESP2 by configuration", cfg: redstart.Config{Protocol: 2}, codes: []string{"protocol"},
		start: func(t *testing.T) string { return rig.SharedCluster(t).URL() }},
	{name: "cluster, HELLO refused", codes: []string{"protocol"},
		start: func(t *testing.T) string {
			return rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs(noHello...)).URL()
		}},
	{name: "Sentinel, RESP2 by configuration", cfg: redstart.Config{Protocol: 2}, codes: []string{"protocol"},
		start: func(t *testing.T) string { return rig.SharedSentinel(t).URL() }},
	{name: "Sentinel, HELLO refused", codes: []string{"protocol"},
		start: func(t *testing.T) string { return rig.NewSentinel(t, noHello...).URL() }},
	{name: "gateway, NOPROTO", codes: []string{"protocol"},
		start: func(t *testing.T) string { return rig.NewGateway(t, rig.Shared(t).Addr(), noProto).URL() }},
	{name: "gateway, RESP2 only", codes: []string{"info", "protocol"},
		start: func(t *testing.T) string { return rig.NewGateway(t, rig.Shared(t).Addr(), resp2).URL() }},
	{name: "HAProxy", tracking: true,
		start: func(t *testing.T) string { return "redis://" + rig.HAProxy(t, rig.Shared(t).Addr()) }},
	{name: "HAProxy, all three refused", codes: []string{"info", "protocol"}, start: func(t *testing.T) string {
		return "redis://" + rig.HAProxy(t, rig.NewGateway(t, rig.Shared(t).Addr(), resp2).Addr())
	}},
}

// Every pattern works on servers and behind proxies that refuse HELLO, CLIENT and INFO. What is off
// is a capability that is false, and a warning.
func TestManagedServers(t *testing.T) {
	t.Parallel()
	for _, m := range managedServers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			cfg := m.cfg
			cfg.URL, cfg.Namespace, cfg.CommandTimeout = m.start(t), rig.Prefix(t), 10*time.Second
			one, two := open(t, cfg), open(t, cfg)

			if got := one.Capabilities().Tracking; got != m.tracking {
				t.Errorf("Tracking is %v, want %v", got, m.tracking)
			}
			var codes []string
			for _, w := range one.Warnings() {
				if w.Code != "persistence" && w.Code != "server" {
					codes = append(codes, w.Code)
				}
			}
			if !slices.Equal(codes, m.codes) {
				t.Errorf("warnings %v, want %v", one.Warnings(), m.codes)
			}
			for _, p := range managedPatterns {
				t.Run(p.name, func(t *testing.T) { p.works(t, one, two) })
			}
		})
	}
}

var managedPatterns = []struct {
	name  string
	works func(t *testing.T, one, two *redstart.Client)
}{
	{"cache", managedCache}, {"lock", managedLock}, {"rate limit", managedLimit}, {"session", managedSession},
	{"durable events", func(t *testing.T, one, two *redstart.Client) {
		bus := func(c *redstart.Client) events.Bus {
			return must(events.NewDurable(c, "orders", events.DurableOptions{}))
		}
		managedEvents(t, bus(one), bus(two))
	}},
	{"live events", func(t *testing.T, one, two *redstart.Client) {
		managedEvents(t, must(events.NewLive(one, events.LiveOptions{})), must(events.NewLive(two, events.LiveOptions{})))
	}},
	{"program's own commands", func(t *testing.T, one, _ *redstart.Client) {
		client, err := one.Redis(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = client.Do(t.Context(), client.B().Get().Key(rig.Prefix(t)).Build()).Error()
		if err != nil && !rueidis.IsRedisNil(err) {
			t.Error(err)
		}
	}},
}

// A value that one process deletes is loaded again by the other. With tracking, that is a push to
// its near cache.
func managedCache(t *testing.T, one, two *redstart.Client) {
	opts := cache.Options{TTL: time.Minute, Near: cache.NearOptions{MaxEntries: 100, TTL: time.Minute}}
	writer, reader := must(cache.New[string](one, "users", opts)), must(cache.New[string](two, "users", opts))
	loads := 0
	load := func(context.Context, string) (string, error) { loads++; return fmt.Sprint("v", loads), nil }
	for range 3 {
		if got, err := reader.GetOrLoad(t.Context(), "42", load, cache.Tags("all")); err != nil || got != "v1" {
			t.Fatal(got, err)
		}
	}
	if err := writer.Delete(t.Context(), "42"); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "the second load", func() bool {
		got, err := reader.GetOrLoad(t.Context(), "42", load, cache.Tags("all"))
		return err == nil && got == "v2"
	})
	if err := writer.InvalidateTags(t.Context(), "all"); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "the third load", func() bool {
		got, err := reader.GetOrLoad(t.Context(), "42", load)
		return err == nil && got == "v3"
	})
}

// A waiter gets the lock after its release.
func managedLock(t *testing.T, one, two *redstart.Client) {
	holder, other := must(lock.New(one, lock.Options{})), must(lock.New(two, lock.Options{Wait: lock.WaitForever}))
	held, err := holder.Acquire(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.TryAcquire(t.Context(), "job"); !errors.Is(err, lock.ErrNotAcquired) {
		t.Fatalf("a second holder: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		next, err := other.Acquire(t.Context(), "job")
		if err == nil && next.Token() <= held.Token() {
			err = fmt.Errorf("token %d after %d", next.Token(), held.Token())
		}
		if err == nil {
			err = next.Release(t.Context())
		}
		got <- err
	}()
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func managedLimit(t *testing.T, one, two *redstart.Client) {
	opts := ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(3)}}
	limiters := []*ratelimit.Limiter{must(ratelimit.New(one, "api", opts)), must(ratelimit.New(two, "api", opts))}
	for i := range 4 {
		got, err := limiters[i%2].Allow(t.Context(), "ada")
		if err != nil || got.Allowed != (i < 3) {
			t.Fatalf("call %d: %+v, %v", i, got, err)
		}
	}
}

func managedSession(t *testing.T, one, two *redstart.Client) {
	login := must(session.New[int](one, "web", session.Options{}))
	check := must(session.New[int](two, "web", session.Options{}))
	s, err := login.Create(t.Context(), "ada", 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := check.Load(t.Context(), s.Token()); err != nil {
		t.Fatal(err)
	}
	if _, err := login.RevokeUser(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := check.Load(t.Context(), s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("after the revocation: %v", err)
	}
}

func managedEvents(t *testing.T, publisher, consumer events.Bus) {
	topic := events.NewTopic[soakEvent]("orders")
	got := make(chan int, 16)
	sub, err := consumer.Subscriber("mail", events.SubscriberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Handle(sub, "*", func(_ context.Context, e events.Event[soakEvent]) error { got <- e.Data.N; return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	select {
	case <-sub.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the subscriber is not ready")
	}
	for i := range 3 {
		if err := topic.Publish(t.Context(), publisher, "ada", soakEvent{i}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		select {
		case n := <-got:
			if n != i {
				t.Fatalf("event %d, want %d", n, i)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("event %d did not arrive", i)
		}
	}
}

// A proxy that ends the connection at HELLO needs Config.Protocol 2. Open does not use RESP2
// without an answer, because an outage looks the same.
func TestProtocolWithoutAnswerToHello(t *testing.T) {
	t.Parallel()
	gateway := rig.NewGateway(t, rig.Shared(t).Addr(), hangs)
	cfg := redstart.Config{URL: gateway.URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second}
	if c, err := redstart.Open(t.Context(), cfg); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("Open without an answer: %v, %v", c, err)
	}
	cfg.Protocol = 2
	managedLimit(t, open(t, cfg), open(t, cfg))
}

// Protocol 3 accepts no RESP2.
func TestProtocol3IsStrict(t *testing.T) {
	t.Parallel()
	gateway := rig.NewGateway(t, rig.Shared(t).Addr(), noProto)
	c, err := redstart.Open(t.Context(), redstart.Config{URL: gateway.URL(), Protocol: 3})
	if err == nil {
		t.Fatalf("Open accepted RESP2: %+v", c.Warnings())
	}
}

// A wrong password is no reason for RESP2: its error stays the login's.
func TestProtocolKeepsTheErrorOfTheLogin(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--requirepass", "right")
	for name, url := range map[string]string{"wrong": s.URLAs("default", "wrong"), "none": "redis://" + s.Addr()} {
		for _, protocol := range []int{0, 2, 3} {
			_, err := redstart.Open(t.Context(), redstart.Config{URL: url, Protocol: protocol})
			if !errors.Is(err, redstart.ErrDenied) {
				t.Errorf("%s password, protocol %d: %v, want ErrDenied", name, protocol, err)
			}
		}
	}
}

// With Config.Assume, Open asks for nothing: a gateway that ends the connection at INFO does no
// harm, and what the Config states is what Capabilities has.
func TestAssumeAsksNothing(t *testing.T) {
	t.Parallel()
	gateway := rig.NewGateway(t, rig.Shared(t).Addr(), map[string]string{"INFO": ""})
	cfg := redstart.Config{URL: gateway.URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second}
	if c, err := redstart.Open(t.Context(), cfg); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("Open that sends INFO: %v, %v", c, err)
	}
	cfg.Assume = redstart.Capabilities{Server: "redis", Version: "7.0.0", Tracking: true, ShardedPubSub: true}
	one, two := open(t, cfg), open(t, cfg)
	if got := one.Capabilities(); got != cfg.Assume {
		t.Errorf("%+v, want %+v", got, cfg.Assume)
	}
	if w := one.Warnings(); len(w) != 1 || w[0].Code != "assumed" {
		t.Errorf("warnings %v, want assumed", w)
	}
	for _, p := range managedPatterns {
		t.Run(p.name, func(t *testing.T) { p.works(t, one, two) })
	}
}
