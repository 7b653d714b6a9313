package core_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

func lazy(o *core.Options) { o.Lazy = true }

func TestLazyLearnsWhenItConnects(t *testing.T) {
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	p.Refuse()
	c := open(t, p.URL(), lazy)
	if err := get(t.Context(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
		t.Fatalf("a call without a server gave %v", err)
	}
	if has := c.Capabilities(); has.Version != "" {
		t.Fatalf("without a server: %+v", has)
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 5*time.Second, "a call", func() bool { return get(t.Context(), c, "k") == nil })
	if has := c.Capabilities(); !has.Tracking || !has.ShardedPubSub || has.Version == "" {
		t.Errorf("connected: %+v", has)
	}
	if len(c.Warnings()) != 1 { // the warning about the append-only file
		t.Errorf("connected: %v", c.Warnings())
	}
}

// The kind of the first call does not matter: messages are sharded and reads are tracked in any
// case.
func TestLazyFirstCallKnowsTheServer(t *testing.T) {
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eager := open(t, url)
			sp := space(t, eager, "x")
			s, l := subscribe(t, eager, sp.Key("news"))
			defer s.Close()
			if got := open(t, url, lazy).PublishCommand(t.Context()); got != "SPUBLISH" {
				t.Errorf("a lazy client's scripts publish with %s", got)
			}
			if err := open(t, url, lazy).Publish(t.Context(), sp.Key("news"), "hello"); err != nil {
				t.Fatal(err)
			}
			l.next(t, "hello")
			second := open(t, url, lazy)
			_, heard := subscribe(t, second, sp.Key("more"))
			if err := eager.Publish(t.Context(), sp.Key("more"), "hello"); err != nil {
				t.Fatal(err)
			}
			heard.next(t, "hello")

			third := open(t, url, lazy)
			r := recorder{make(chan string, 16)}
			defer third.Hub().Track(sp.Prefix(), r)()
			if _, err := third.DoTracked(t.Context(), core.Read("GET", sp.Key("a"))); err != nil {
				t.Fatal(err)
			}
			if _, err := third.Do(t.Context(), core.Write("SET", sp.Key("a"), "x", "EX", "60")); err != nil {
				t.Fatal(err)
			}
			for got := ""; got != sp.Key("a"); {
				select {
				case got = <-r.heard:
				case <-time.After(5 * time.Second):
					t.Fatal("the first read was not tracked")
				}
			}
		})
	}
}

func TestLazyBreakerOpensWithoutAnyConnection(t *testing.T) {
	for _, scheme := range []string{"redis://", "redis+cluster://"} {
		s := rig.Standalone(t)
		p := rig.NewProxy(t, s.Addr())
		p.Stall() // connections are accepted, and silent
		c := open(t, scheme+p.Addr(), lazy, timeout(200*time.Millisecond))
		if err := get(context.Background(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
			t.Fatalf("%s a silent server gave %v", scheme, err)
		}
		watch := rig.Watch(t)
		for range 50 {
			if err := get(context.Background(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
				t.Fatalf("%s behind the breaker a call gave %v", scheme, err)
			}
		}
		if took := watch.Took(); took > 2*time.Second { // ten seconds without the breaker
			t.Errorf("%s behind the breaker fifty calls took %v", scheme, took)
		}
		if n := c.Nodes(); len(n) != 1 || n[0].Opened == 0 {
			t.Errorf("%s nodes: %+v", scheme, n)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s Close: %v", scheme, err)
		}
	}
}

func TestFactsFollowTheServer(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	eviction := func() bool {
		for _, w := range c.Warnings() {
			if w.Code == "eviction" {
				return true
			}
		}
		return false
	}
	if eviction() {
		t.Fatal("a warning without a reason")
	}
	s.CLI("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "100mb")
	s.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") // as after a restart
	rig.Eventually(t, 10*time.Second, "the warning", func() bool { return get(t.Context(), c, "k") == nil && eviction() })
}

func TestClusterFactsComeFromPrimaries(t *testing.T) {
	for range 8 { // a replica that was asked would warn that it is a replica
		c := open(t, rig.SharedCluster(t).URL())
		if has := c.Capabilities(); !has.Tracking || !has.ShardedPubSub {
			t.Errorf("capabilities: %+v", has)
		}
		for _, w := range c.Warnings() {
			if w.Code == "replica" {
				t.Errorf("warning: %v", w)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestClusterWithoutSlotsIsUnavailable(t *testing.T) {
	s := rig.Standalone(t, "--cluster-enabled", "yes")
	c := open(t, "redis+cluster://"+s.Addr(), lazy)
	for what, err := range map[string]error{
		"GET": get(t.Context(), c, "k"), "PUBLISH": c.Publish(t.Context(), "ch", "m"),
	} {
		if !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("%s gave %v", what, err)
		}
	}
	if got := c.PublishCommand(t.Context()); got != "SPUBLISH" {
		t.Errorf("scripts publish with %s", got)
	}
}
