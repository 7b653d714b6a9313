package cache_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// outageLog is a cache with its own client, and the log of that client.
type outageLog struct {
	cache *cache.Cache[user]
	log   *lockedBuffer
	lost  *pushes
}

func newOutageLog(t *testing.T, url string, opts cache.Options) *outageLog {
	t.Helper()
	o := &outageLog{log: &lockedBuffer{}}
	client := dialWith(t, redstart.Config{
		URL: url, Namespace: "app", CommandTimeout: downTimeout,
		Logger: slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	o.cache = on(t, client, opts)
	o.lost = listen(t, client, "app")
	return o
}

// lines returns the log lines about answers without the server.
func (o *outageLog) lines() (found []string) {
	for line := range strings.Lines(o.log.String()) {
		if strings.Contains(line, "degraded answers") {
			found = append(found, line)
		}
	}
	return found
}

// one fails the test unless exactly one line has the policy. It returns the number of lines with
// other policies.
func (o *outageLog) one(t *testing.T, call, policy, addr string) (others int) {
	t.Helper()
	named := `policy="` + policy + `"`
	rig.Eventually(t, 10*time.Second, call+": a line of the policy "+policy,
		func() bool { return strings.Contains(o.log.String(), named) })
	n := 0
	for _, line := range o.lines() {
		if !strings.Contains(line, named) {
			others++
			continue
		}
		n++
		for _, word := range []string{"level=WARN", "pattern=cache", "name=users", "reason=", addr} {
			if !strings.Contains(line, word) {
				t.Errorf("%s: the line has no %q: %s", call, word, line)
			}
		}
	}
	if n != 1 {
		t.Errorf("%s: %d lines of the policy %q, want 1: %q", call, n, policy, o.lines())
	}
	return others
}

var failing = func(context.Context, string) (user, error) { return user{}, errAway }

var failingMany = func(context.Context, []string) (map[string]user, error) { return nil, errAway }

// The first answer of the near cache in an outage is logged for each kind of call, with node and
// reason.
func TestANearAnswerInAnOutageIsLogged(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	opts := cache.Options{Near: cache.NearOptions{MaxEntries: 100, TTL: time.Hour}}
	logs := make(map[string]*outageLog)
	calls := map[string]func(c *cache.Cache[user]) (user, error){
		"Get": func(c *cache.Cache[user]) (user, error) { return c.Get(ctx, "1") },
		"GetMany": func(c *cache.Cache[user]) (user, error) {
			got, err := c.GetMany(ctx, []string{"1"})
			return got["1"], err
		},
		"GetOrLoad": func(c *cache.Cache[user]) (user, error) { return c.GetOrLoad(ctx, "1", failing) },
		"GetOrLoadMany": func(c *cache.Cache[user]) (user, error) {
			got, err := c.GetOrLoadMany(ctx, []string{"1"}, failingMany)
			return got["1"], err
		},
	}
	for call := range calls {
		logs[call] = newOutageLog(t, server.URL(), opts)
		if err := logs[call].cache.Set(ctx, "1", before); err != nil {
			t.Fatal(err)
		}
	}
	for call, o := range logs {
		bring(t, []string{"1"}, before, o.cache)
		o.lost.forget()
		if found := o.lines(); len(found) > 0 {
			t.Fatalf("%s: a healthy server, and the log says %q", call, found)
		}
	}

	server.Kill()
	for call, do := range calls {
		o := logs[call]
		await(t, "the loss of the connection", o.lost.flushes)
		for range 100 {
			if v, err := do(o.cache); err != nil || v != before {
				t.Fatalf("%s: %v, %v", call, v, err)
			}
		}
		if others := o.one(t, call, "near cache", server.Addr()); others != 0 {
			t.Errorf("%s: %d lines of other policies: %q", call, others, o.lines())
		}
	}
}

// The first stale answer is logged too. While the source is not asked after its failure, answers
// are stale values and not near-cache hits.
func TestAStaleAnswerInAnOutageIsLogged(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	const ttl = 500 * time.Millisecond
	opts := cache.Options{
		TTL: ttl, Jitter: cache.NoJitter, EarlyRefresh: cache.NoEarlyRefresh, StaleFor: time.Hour,
		Near: cache.NearOptions{MaxEntries: 100, TTL: time.Hour},
	}
	logs := make(map[string]*outageLog)
	calls := map[string]func(c *cache.Cache[user]) (user, error){
		"GetOrLoad": func(c *cache.Cache[user]) (user, error) { return c.GetOrLoad(ctx, "GetOrLoad", failing) },
		"GetOrLoadMany": func(c *cache.Cache[user]) (user, error) {
			got, err := c.GetOrLoadMany(ctx, []string{"GetOrLoadMany"}, failingMany)
			return got["GetOrLoadMany"], err
		},
	}
	for call := range calls {
		o := newOutageLog(t, server.URL(), opts)
		logs[call] = o
		rig.Eventually(t, 10*time.Second, call+": a near-cached entry that becomes stale", func() bool {
			if o.cache.Stats().NearEntries == 0 {
				if err := o.cache.Set(ctx, call, before); err != nil {
					t.Fatal(err)
				}
			}
			_, err := o.cache.Get(ctx, call)
			return errors.Is(err, cache.ErrNotFound) && o.cache.Stats().NearEntries == 1
		})
		o.lost.forget()
	}

	server.Kill()
	for call, do := range calls {
		o := logs[call]
		await(t, "the loss of the connection", o.lost.flushes)
		for range 100 {
			if v, err := do(o.cache); err != nil || v != before {
				t.Fatalf("%s: %v, %v", call, v, err)
			}
		}
		o.one(t, call, "stale value", server.Addr())
		if text := strings.Join(o.lines(), ""); strings.Contains(text, `policy="near cache"`) {
			t.Errorf("%s: stale answers, and the log says %s", call, text)
		}
	}
}
