package ratelimit_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// The table of the package documentation agrees with MEMORY USAGE, and every key has a TTL (A4).
func TestA4_MemoryPerKeyAndTTL(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	client := shared(t)
	three := []ratelimit.Rule{ratelimit.PerSecond(100), ratelimit.PerMinute(1000), ratelimit.PerHour(10_000)}
	for _, tt := range []struct {
		a        ratelimit.Algorithm
		rules    []ratelimit.Rule
		requests int
		most     int
		ttl      time.Duration
	}{
		{ratelimit.GCRA, three[2:], 1000, 170, time.Hour},
		{ratelimit.GCRA, three, 100, 260, time.Hour},
		{ratelimit.FixedWindow, three[2:], 1000, 200, time.Hour},
		{ratelimit.SlidingWindow, three[2:], 1000, 220, 2 * time.Hour},
		{ratelimit.SlidingLog, three[2:], 10, 5000, time.Hour},
		{ratelimit.SlidingLog, three[2:], 1000, 30_000, time.Hour},
	} {
		name := fmt.Sprintf("m-%v-%d-%d", tt.a, len(tt.rules), tt.requests)
		l, err := ratelimit.New(client, name, ratelimit.Options{Algorithm: tt.a, Rules: tt.rules})
		if err != nil {
			t.Fatal(err)
		}
		for range tt.requests {
			if r := allow(t, l, "user:12345678", 1); !r.Allowed {
				t.Fatalf("%s: %+v", name, r)
			}
		}
		key := onlyKey(t, server, client, name)
		used, err := strconv.Atoi(server.CLI("MEMORY", "USAGE", key))
		if err != nil || used > tt.most {
			t.Errorf("%s: %d bytes, %v; want at most %d", key, used, err, tt.most)
		}
		t.Logf("%v, %d rules, %d requests: %d bytes (%s)", tt.a, len(tt.rules), tt.requests, used, key)
		ms, err := strconv.ParseInt(server.CLI("PTTL", key), 10, 64)
		if ttl := time.Duration(ms) * time.Millisecond; err != nil || ttl <= 0 || ttl > tt.ttl+2*time.Millisecond {
			t.Errorf("%s: TTL %v, %v; want at most %v", key, ttl, err, tt.ttl)
		}
	}
	c, err := ratelimit.NewConcurrency(client, "m-permits", ratelimit.ConcurrencyOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if ms, _ := strconv.ParseInt(server.CLI("PTTL", onlyKey(t, server, client, "m-permits")), 10, 64); ms <= 0 || ms > 30_001 {
		t.Errorf("permits: TTL %d ms", ms)
	}
}

// onlyKey returns the one key of a limiter.
func onlyKey(t *testing.T, server *rig.Server, client *redstart.Client, name string) string {
	t.Helper()
	space, err := clientcore.Of(client).Keys("limit", name)
	if err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(server.CLI("KEYS", space.Match("")))
	if len(keys) != 1 {
		t.Fatalf("%s has the keys %q, want one", name, keys)
	}
	return keys[0]
}
