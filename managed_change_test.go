package redstart_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// A server loses RESP3 while clients are open, for example by a new proxy before it. Near caches
// are off from then on, and serve nothing stale. All patterns, the live subscriber and the client
// of Client.Redis that were opened before continue.
func TestServerThatLosesRESP3(t *testing.T) {
	t.Parallel()
	for name, denials := range map[string]map[string]string{"NOPROTO": noProto, "unknown command": resp2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost := atomic.Bool{}
			gateway := rig.NewChangingGateway(t, rig.Shared(t).Addr(), func() map[string]string {
				if lost.Load() {
					return denials
				}
				return nil
			})
			cfg := redstart.Config{URL: gateway.URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second}
			one, two := open(t, cfg), open(t, cfg)
			if !two.Capabilities().Tracking {
				t.Fatalf("no RESP3 before the change: %v", two.Warnings())
			}
			client, err := two.Redis(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			connectionID(t, client)
			gaps := subscribeAndCountGaps(t, two)
			near := cache.NearOptions{MaxEntries: 100, TTL: time.Minute}
			opts := cache.Options{TTL: time.Minute, Near: near}
			writer, reader := must(cache.New[string](one, "kept", opts)), must(cache.New[string](two, "kept", opts))
			loads := 0
			load := func(context.Context, string) (string, error) { loads++; return fmt.Sprint("v", loads), nil }
			if _, err := reader.GetOrLoad(t.Context(), "42", load); err != nil {
				t.Fatal(err)
			}

			lost.Store(true)
			gateway.Cut()
			rig.Eventually(t, 20*time.Second, "a deletion after the change", func() bool {
				return writer.Delete(t.Context(), "42") == nil
			})
			rig.Eventually(t, 20*time.Second, "the load after the deletion", func() bool {
				got, err := reader.GetOrLoad(t.Context(), "42", load)
				return err == nil && got != "v1"
			})
			rig.Eventually(t, 20*time.Second, "both clients know the change", func() bool {
				return !one.Capabilities().Tracking && !two.Capabilities().Tracking
			})
			rig.Eventually(t, 20*time.Second, "the client of Client.Redis works again", func() bool {
				return client.Do(t.Context(), client.B().Ping().Build()).Error() == nil
			})
			rig.Eventually(t, 20*time.Second, "the live subscriber is back", func() bool { return gaps.Load() > 0 })
			for _, p := range managedPatterns {
				t.Run(p.name, func(t *testing.T) { p.works(t, one, two) })
			}
		})
	}
}

// With RESP2, a client finds the new primary after a failover: in a cluster by redirections, behind
// Sentinel by the reply to ROLE.
func TestRESP2Failover(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, start := range map[string]func(t *testing.T) (url string, failover func()){
		"Sentinel": func(t *testing.T) (string, func()) {
			s := rig.NewSentinel(t, noHello...)
			return s.URL(), func() { s.Failover() }
		},
		"cluster": func(t *testing.T) (string, func()) {
			c := rig.NewCluster(t, rig.NodeArgs(noHello...))
			return c.URL(), func() {
				for _, primary := range c.Primaries() {
					c.Failover(primary)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, failover := start(t)
			cfg := redstart.Config{URL: url, Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second}
			one, two := open(t, cfg), open(t, cfg)
			key := rig.Prefix(t)
			gaps := subscribeAndCountGaps(t, two)
			if err := do(one, "GET", key); err != nil {
				t.Fatal(err)
			}

			failover()
			rig.Eventually(t, 20*time.Second, "the new primary answers", func() bool {
				return do(one, "GET", key) == nil
			})
			rig.Eventually(t, 20*time.Second, "the live subscriber is back", func() bool { return gaps.Load() > 0 })
			for _, p := range managedPatterns {
				t.Run(p.name, func(t *testing.T) { p.works(t, one, two) })
			}
		})
	}
}
