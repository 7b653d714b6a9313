package redstart_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

func TestOpenPingCloseOnEveryEngine(t *testing.T) {
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		c, err := redstart.Open(t.Context(), redstart.Config{URL: e.URL, Namespace: e.Namespace})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
		redis, err := c.Redis(t.Context())
		if err != nil {
			t.Fatalf("Redis: %v", err)
		}
		if err := redis.Do(t.Context(), redis.B().Ping().Build()).Error(); err != nil {
			t.Errorf("PING through Redis: %v", err)
		}
		has := c.Capabilities()
		if has.Version == "" || !has.Tracking || !has.ShardedPubSub {
			t.Errorf("capabilities: %+v", has)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
		if err := c.Ping(context.Background()); !errors.Is(err, redstart.ErrUnavailable) {
			t.Errorf("Ping after Close: %v", err)
		}
		if _, err := c.Redis(context.Background()); !errors.Is(err, redstart.ErrUnavailable) {
			t.Errorf("Redis after Close: %v", err)
		}
	})
}

func TestOpenWithoutAServerFailsAndHidesThePassword(t *testing.T) {
	t.Parallel()
	_, err := redstart.Open(t.Context(), redstart.Config{URL: "redis://user:hunter2@127.0.0.1:1/0"})
	if !errors.Is(err, redstart.ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("Open gave %v", err)
	}
}

func TestLazyConnectsWithTheFirstCall(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	p.Refuse()
	c, err := redstart.Open(t.Context(), redstart.Config{URL: p.URL(), Lazy: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(t.Context()); !errors.Is(err, redstart.ErrUnavailable) {
		t.Fatalf("Ping without a server: %v", err)
	}
	if _, err := c.Redis(t.Context()); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("Redis without a server: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Redis(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Redis with an ended context: %v", err)
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 5*time.Second, "the first call that can connect", func() bool { return c.Ping(t.Context()) == nil })
}
