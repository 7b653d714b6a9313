package ratelimit_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

func newPlans(t testing.TB, l *ratelimit.Limiter, opts ratelimit.PlansOptions) *ratelimit.Plans {
	t.Helper()
	p, err := ratelimit.NewPlans(l, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func setPlan(t testing.TB, p *ratelimit.Plans, name string, rules ...ratelimit.Rule) {
	t.Helper()
	if err := p.Set(t.Context(), name, rules...); err != nil {
		t.Fatal(err)
	}
}

// limitOf returns the binding limit of a key with the plans of some names.
func limitOf(t testing.TB, p *ratelimit.Plans, names ...string) int64 {
	t.Helper()
	r, err := p.For(t.Context(), names...).Peek(t.Context(), "no charge")
	if err != nil {
		t.Fatal(err)
	}
	return r.Limit
}

// The first name with rules is used. Rules of any kind come back as they were set, also from
// another process.
func TestPlans(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		opts := ratelimit.Options{Algorithm: ratelimit.FixedWindow,
			Rules: []ratelimit.Rule{ratelimit.PerHour(5)}, Outage: ratelimit.FailClosed}
		base := limiter(t, open(t, e.URL, e.Namespace), opts)
		ours, theirs := newPlans(t, base, ratelimit.PlansOptions{}),
			newPlans(t, limiter(t, open(t, e.URL, e.Namespace), opts), ratelimit.PlansOptions{})
		if l := ours.For(t.Context(), "pro", "user:1", "", strings.Repeat("n", 2000)); l != base {
			t.Error("a store without plans: not the limiter of NewPlans")
		}

		stored := map[string][]ratelimit.Rule{
			"pro": {ratelimit.PerHour(50),
				{Name: "month", Limit: 1000, Calendar: ratelimit.Month, Zone: zone(t, "Europe/Berlin")}},
			"user:1":                  {{Limit: ratelimit.Unlimited}},
			"blocked":                 {{Limit: 0, Window: time.Second}},
			"odd \x00{}*=\xff é":      {{Name: "a \"b", Limit: 7, Window: 1234567 * time.Microsecond}},
			"=version":                {ratelimit.PerHour(8)},
			strings.Repeat("k", 1024): {ratelimit.PerHour(9)},
		}
		for name, rules := range stored {
			setPlan(t, ours, name, rules...)
		}
		for name, rules := range stored {
			for _, p := range []*ratelimit.Plans{ours, theirs} {
				got, err := p.Rules(t.Context(), name)
				if err != nil || fmt.Sprint(got) != fmt.Sprint(rules) {
					t.Errorf("%.20q: %v, %v, want %v", name, got, err, rules)
				}
				if limit := limitOf(t, p, name); limit != rules[0].Limit {
					t.Errorf("%.20q: limit %d, want %d", name, limit, rules[0].Limit)
				}
			}
		}
		for want, names := range map[int64][]string{
			5: {"none", "", "nothing"}, 50: {"none", "pro", "user:1"}, ratelimit.Unlimited: {"user:1", "pro"},
			8: {strings.Repeat("n", 2000), "=version"},
		} {
			if got := limitOf(t, ours, names...); got != want {
				t.Errorf("%.60q: limit %d, want %d", names, got, want)
			}
		}
		if ours.For(t.Context(), "pro") != ours.For(t.Context(), "none", "pro") {
			t.Error("the same rules make two limiters")
		}

		setPlan(t, ours, "pro", ratelimit.PerHour(60))
		if got := limitOf(t, ours, "pro"); got != 60 {
			t.Errorf("right after Set: %d", got)
		}
		for name := range stored {
			if err := ours.Delete(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if ours.For(t.Context(), "user:1", "pro") != base {
			t.Error("right after Delete: not the limiter of NewPlans")
		}
		if rules, err := ours.Rules(t.Context(), "pro"); rules != nil || err != nil {
			t.Errorf("after Delete: %v, %v", rules, err)
		}
	})
}

// Every process uses a change within Refresh. A plan in memory takes no round trip except two
// checks per Refresh.
func TestPlansChangeWithinRefresh(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	opts := ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(5)}}
	ours := newPlans(t, limiter(t, open(t, server.URL(), "app"), opts), ratelimit.PlansOptions{})
	const refresh = 400 * time.Millisecond
	theirs := newPlans(t, limiter(t, open(t, server.URL(), "app"), opts), ratelimit.PlansOptions{Refresh: refresh})
	for i := range int64(4) {
		setPlan(t, ours, "pro", ratelimit.PerHour(100+i))
		changed := time.Now()
		rig.Eventually(t, 10*time.Second, "the change to be used", func() bool {
			asked := time.Now()
			limit := limitOf(t, theirs, "user", "pro")
			if limit != 100+i && asked.Sub(changed) > refresh {
				t.Errorf("%v after the change the limit is %d, want %d", asked.Sub(changed), limit, 100+i)
			}
			return limit == 100+i
		})
	}

	setPlan(t, ours, "rare", ratelimit.PerHour(200))
	rig.Eventually(t, 10*time.Second, "the plan to be used", func() bool { return limitOf(t, theirs, "rare") == 200 })
	setPlan(t, ours, "rare", ratelimit.PerHour(201))
	for changed := time.Now(); time.Since(changed) <= 2*refresh; {
		theirs.For(t.Context(), "user", "pro") // checks the version, and reads only these names
	}
	if limit := limitOf(t, theirs, "rare"); limit != 201 {
		t.Errorf("a plan that was not used since its change has a limit of %d", limit)
	}

	before, began, calls := server.CommandStats()["hmget"], time.Now(), 0
	for ; time.Since(began) < 3*refresh; calls++ {
		theirs.For(t.Context(), "user", "pro")
	}
	checks := server.CommandStats()["hmget"] - before
	if most := 2 + 2*int(time.Since(began)/refresh); calls < 1000 || int(checks) > most || checks == 0 {
		t.Errorf("%d calls cost %d reads in %v, at most %d expected", calls, checks, time.Since(began), most)
	}
}

// In an outage, the last known rules are used immediately. An unknown name has the rules of
// NewPlans. Changes during the outage are used when the server is back.
func TestPlansInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	opts := ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(5)}}
	const timeout = 500 * time.Millisecond
	client := open(t, proxy.URL(), "app", func(c *redstart.Config) { c.CommandTimeout = timeout })
	base := limiter(t, client, opts)
	p := newPlans(t, base, ratelimit.PlansOptions{Refresh: 50 * time.Millisecond})
	operator := newPlans(t, limiter(t, open(t, server.URL(), "app"), opts), ratelimit.PlansOptions{})
	setPlan(t, p, "pro", ratelimit.PerHour(50))
	pro := p.For(t.Context(), "pro")
	if pro == base {
		t.Fatal("not the plan's limiter")
	}

	proxy.Stall()
	slow := 0 // calls that waited for the server; the calls that detect the outage may wait
	watch := rig.Watch(t)
	for began := time.Now(); time.Since(began) < 5*timeout && slow < 4; {
		asked := watch.Took()
		if p.For(t.Context(), "user", "pro") != pro || p.For(t.Context(), "other") != base {
			t.Fatal("in the outage: not the last known rules")
		}
		if watch.Took()-asked >= timeout {
			slow++
		}
	}
	if slow > 2 {
		t.Errorf("%d calls waited for a server that does not answer", slow)
	}

	setPlan(t, operator, "pro", ratelimit.PerHour(70))
	proxy.Resume()
	rig.Eventually(t, 20*time.Second, "the change to be used", func() bool {
		l := p.For(t.Context(), "pro")
		return l != pro && l != base
	})
	server.CLI("FLUSHALL")
	rig.Eventually(t, 20*time.Second, "the loss of all plans to be noticed",
		func() bool { return p.For(t.Context(), "pro") == base })
	setPlan(t, operator, "pro", ratelimit.PerHour(50))
	rig.Eventually(t, 20*time.Second, "plans that are set again to be used",
		func() bool { return p.For(t.Context(), "pro") != base })
}

// Memory is bounded in count and bytes, for any names and rules, and every answer is right.
func TestPlansAreBounded(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	opts := ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(5)}}
	operator := newPlans(t, limiter(t, open(t, server.URL(), namespace), opts), ratelimit.PlansOptions{})
	const stored = 300
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < stored; i += 8 {
				// each two names have the same rules
				setPlan(t, operator, fmt.Sprint("user:", i), ratelimit.PerHour(int64(10+i/2)))
			}
		})
	}
	wg.Wait()
	for _, c := range []ratelimit.PlansOptions{{MaxNames: 50}, {MaxBytes: 64 << 10}, {}} {
		p := newPlans(t, limiter(t, open(t, server.URL(), namespace), opts), c)
		most, bytes := 0, 0
		for w := range 16 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(1, uint64(w)))
				for range 400 {
					i := rng.IntN(2 * stored)
					want := int64(5)
					if i < stored {
						want = int64(10 + i/2)
					}
					l := p.For(t.Context(), fmt.Sprint("user:", i))
					if r, err := l.Peek(t.Context(), "k"); err != nil || r.Limit != want {
						t.Errorf("user %d: %+v, %v, want a limit of %d", i, r, err, want)
						return
					}
				}
			})
		}
		wg.Wait()
		names, limiters, used, account := ratelimit.PlansKept(p)
		if c.MaxNames > 0 {
			most = c.MaxNames
		} else if bytes = c.MaxBytes; bytes == 0 {
			most, bytes = 10_000, 8<<20
		}
		if most > 0 && names > most || bytes > 0 && used > bytes || names < 10 || limiters < 5 ||
			limiters > names || used != account {
			t.Errorf("%+v: %d names with %d limiters of %d bytes, the account says %d", c, names, limiters, used, account)
		}
		t.Logf("%+v: %d names with %d limiters of %d bytes", c, names, limiters, used)
	}
}

// Stored plans are bounded on the server, and changes of plans keep its account right.
func TestPlansStoredAreBounded(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	p := newPlans(t, limiter(t, open(t, server.URL(), "app"),
		ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(5)}}), ratelimit.PlansOptions{})
	for name, err := range map[string]error{
		"no name":     p.Set(t.Context(), "", ratelimit.PerHour(1)),
		"a long name": p.Set(t.Context(), strings.Repeat("n", 1025), ratelimit.PerHour(1)),
	} {
		if !errors.Is(err, redstart.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Set(t.Context(), "n", ratelimit.Rule{Limit: -7}); err == nil || !strings.Contains(err.Error(), "Rules[0].Limit") {
		t.Errorf("rules that are not valid: %v", err)
	}
	if err := p.Set(t.Context(), "n"); err == nil {
		t.Error("a plan without rules was stored")
	}

	setPlan(t, p, "a", ratelimit.PerHour(1))
	setPlan(t, p, "b", ratelimit.PerHour(1), ratelimit.PerSecond(1))
	setPlan(t, p, "a", ratelimit.PerHour(123456))
	const key = "app:limit:api:{%}:plans"
	sum := 0
	for _, name := range []string{"a", "b"} {
		sum += len("="+name) + len(server.CLI("HGET", key, "="+name))
	}
	if got := server.CLI("HGET", key, "bytes"); got != strconv.Itoa(sum) {
		t.Errorf("the account says %s bytes, the plans have %d; keys %s", got, sum, server.CLI("KEYS", "*"))
	}
	server.CLI("HSET", key, "bytes", strconv.Itoa(16<<20))
	if err := p.Set(t.Context(), "c", ratelimit.PerHour(1)); !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("beyond the bytes: %v", err)
	}
	if err := errors.Join(p.Delete(t.Context(), "a"), p.Delete(t.Context(), "a"), p.Delete(t.Context(), "b")); err != nil {
		t.Error(err)
	}
	if n := server.CLI("EXISTS", key); n != "0" {
		t.Error("the key is there without a plan")
	}
	server.CLI("EVAL", "for i = 1, 100000 do redis.call('HSET', KEYS[1], '=' .. i, '{}') end "+
		"redis.call('HSET', KEYS[1], 'version', 1, 'plans', 100000, 'bytes', 100)", "1", key)
	if err := p.Set(t.Context(), "c", ratelimit.PerHour(1)); !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("beyond the count: %v", err)
	}
	setPlan(t, p, "7", ratelimit.PerHour(1)) // in place of another plan
}

// Rules that are invalid, or that this release cannot read, leave the known rules in use. A key of
// another type is an error for the operator only.
func TestUnreadablePlansKeepTheKnownRules(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	base := limiter(t, open(t, server.URL(), "app"), ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(5)}})
	p := newPlans(t, base, ratelimit.PlansOptions{Refresh: 20 * time.Millisecond})
	const key = "app:limit:api:{%}:plans"
	for i, text := range []string{`{"v":2,"rules":[{"limit":1,"us":1000000}]}`, `{`, `{"v":1}`,
		`{"v":1,"rules":[{"limit":-9}]}`, `{"v":1,"rules":[{"limit":1,"calendar":1,"zone":"No/Where"}]}`, ""} {
		setPlan(t, p, "pro", ratelimit.PerHour(50))
		pro := p.For(t.Context(), "pro")
		server.CLI("HSET", key, "=pro", text, "=new", text, "version",
			strconv.FormatInt(time.Now().Add(time.Hour*time.Duration(i+1)).UnixMicro(), 10))
		read := server.CommandStats()["hmget"]
		rig.Eventually(t, 10*time.Second, "the rules to be read", func() bool {
			p.For(t.Context(), "pro")
			return server.CommandStats()["hmget"] > read+2
		})
		if l := p.For(t.Context(), "pro"); text != "" && l != pro {
			t.Errorf("%s: not the rules that are known", text)
		}
		if l := p.For(t.Context(), "new"); l != base {
			t.Errorf("%s: rules for a name that never had any", text)
		}
		if _, err := p.Rules(t.Context(), "pro"); text != "" && i < 2 && !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("%s: %v", text, err)
		}
	}
	server.CLI("DEL", key)
	server.CLI("LPUSH", key, "x")
	if err := p.Set(t.Context(), "pro", ratelimit.PerHour(50)); !errors.Is(err, redstart.ErrCorrupt) {
		t.Errorf("a key of another type: %v", err)
	}
	read, calls := server.CommandStats()["hmget"], 0
	for began := time.Now(); time.Since(began) < 500*time.Millisecond; calls++ {
		if p.For(t.Context(), "pro") == nil {
			t.Fatal("nil")
		}
	}
	if reads := server.CommandStats()["hmget"] - read; calls < 1000 || reads > 3 {
		t.Errorf("%d calls of For cost %d reads while none succeeds", calls, reads)
	}
}
