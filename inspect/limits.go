package inspect

import (
	"context"
	"fmt"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/limitview"
	"github.com/redstart-go/redstart/ratelimit"
)

// Limits shows and resets rate limits and concurrency limits. Use [Inspector.Limits].
type Limits struct {
	in   *Inspector
	view limitview.Functions
}

// Limits returns the limiters of the namespace.
func (in *Inspector) Limits() *Limits { return &Limits{in, limitview.Of()} }

// LimiterInfo is a limiter that has charges or permits.
type LimiterInfo struct {
	Name string `json:"name"`
	// Local is how many sets of rules this process has for the limiter. 0: only other processes
	// have the limiter, so its rules are not known here.
	Local int `json:"local"`
}

// Limit is the state of one key of a limiter.
type Limit struct {
	Limiter string `json:"limiter"`
	Key     string `json:"key"`
	// Answers says what the next request for one token would get, for each known set of rules: the
	// limiters of this process, or the rules of the caller. Nothing is charged.
	Answers []LimitAnswer `json:"answers"`
	// Counts is what the server has stored, for each algorithm. The server stores no rules, only
	// their digests.
	Counts  []LimitCounts `json:"counts"`
	Permits PermitState   `json:"permits"`
}

// LimitAnswer is what the next request for one token would get.
type LimitAnswer struct {
	Algorithm  string      `json:"algorithm"`
	Plan       string      `json:"plan,omitempty"` // the stored plan whose rules these are
	Allowed    bool        `json:"allowed"`
	Rule       string      `json:"rule"`        // the binding rule
	RetryAfter Duration    `json:"retry_after"` // 0: allowed
	Never      bool        `json:"never"`       // the limit of a rule is 0
	Rules      []RuleState `json:"rules"`
}

// RuleState is the state of one rule.
type RuleState struct {
	Name       string   `json:"name"`
	Limit      int64    `json:"limit"`
	Remaining  int64    `json:"remaining"`
	RetryAfter Duration `json:"retry_after"`
	NextAfter  Duration `json:"next_after"`  // until one more token is available
	ResetAfter Duration `json:"reset_after"` // until all tokens are available
}

// LimitCounts is the stored state of one algorithm.
type LimitCounts struct {
	Algorithm string      `json:"algorithm"`
	Bytes     int64       `json:"bytes"`
	TTLLeft   Duration    `json:"ttl_left"`
	Slots     []LimitSlot `json:"slots"`
	Entries   int64       `json:"entries"` // admitted calls in a sliding log
	// Problem says why the other fields are empty: the stored value is not of this release.
	Problem string `json:"problem,omitempty"`
}

// LimitSlot is the stored count of one rule.
type LimitSlot struct {
	ID    string   `json:"id"`    // digest of the rule
	Count int64    `json:"count"` // tokens in the window of the last charge; -1 for GCRA, which stores a time
	Ends  Duration `json:"ends"`  // until no tokens of the rule count; for the sliding window, at most this time
}

// PermitState is the permits of a concurrency limit that are out.
type PermitState struct {
	Held  int64    `json:"held"`
	First Duration `json:"first_ends"` // until the first of them ends, if it is not extended
	Last  Duration `json:"last_ends"`
}

// List returns the limiters that have charges or permits. A page is a sample of the keys, so a
// limiter may occur in several pages.
func (l *Limits) List(ctx context.Context, p Page) (List[LimiterInfo], error) {
	list, err := names(ctx, l.in, "limiters", "limit", "*", p)
	if err != nil {
		return List[LimiterInfo]{Items: []LimiterInfo{}}, failure("list limiters", "", err)
	}
	return mapList(list, func(name string) LimiterInfo {
		return LimiterInfo{Name: name, Local: len(l.view.Plans(l.in.core, name))}
	}), nil
}

// Keys returns the keys of a limiter that have charges or permits. A key may occur twice, if it has
// both.
func (l *Limits) Keys(ctx context.Context, limiter string, p Page) (List[string], error) {
	list := List[string]{Items: []string{}}
	space, err := l.in.core.Keys("limit", limiter)
	if err == nil {
		err = checkName("limiter", limiter)
	}
	if err != nil {
		return list, failure("list keys of limiter", quoted(limiter), err)
	}
	list, err = scan(ctx, l.in, "limit keys", space.Match(""), p, func(_ context.Context, found []string) (all []string, _ error) {
		for _, key := range found {
			user, suffix, sibling, ok := space.Split(key)
			if ok && l.view.IsState(suffix, sibling) {
				all = append(all, truncated(user))
			}
		}
		return all, nil
	})
	if err != nil {
		return list, failure("list keys of limiter", quoted(limiter), err)
	}
	return list, nil
}

// Show returns the state of a key, and what the next request would get by the rules of the limiters
// that this process has. It takes one round trip for the state and one for each set of rules.
func (l *Limits) Show(ctx context.Context, limiter, key string) (Limit, error) {
	return l.show(ctx, limiter, key, l.view.Plans(l.in.core, limiter))
}

// ShowRules is [Limits.Show] with the rules of the caller, for a process that does not have the
// limiter. The names of the rules must be those of the service: rules that differ in any field are
// counted separately.
func (l *Limits) ShowRules(ctx context.Context, limiter, key string, algorithm ratelimit.Algorithm,
	rules ...ratelimit.Rule) (Limit, error) {
	p := limitview.Plan{Algorithm: algorithm.String()}
	for _, r := range rules {
		p.Rules = append(p.Rules, limitview.Rule{Name: r.Name, Limit: r.Limit, Window: r.Window, Burst: r.Burst,
			Calendar: int(r.Calendar), Zone: r.Zone})
	}
	return l.show(ctx, limiter, key, []limitview.Plan{p})
}

// ShowPlan is [Limits.Show] with the rules that ratelimit.Plans stores on the server, for a process
// that does not have the limiter. It uses the first of the plans that has rules, as Plans.For does.
// The server does not store the algorithm: it must be that of the service. It takes one more round
// trip. At most 8 plans. Errors: [ErrNotFound] if no plan has rules.
func (l *Limits) ShowPlan(ctx context.Context, limiter, key string, algorithm ratelimit.Algorithm, plans ...string) (Limit, error) {
	name, rules, err := l.view.StoredPlan(ctx, l.in.core, limiter, plans)
	if err == nil && name == "" {
		err = fmt.Errorf("%w: no plan has rules: name one that the service has set", ErrNotFound)
	}
	if err != nil {
		return Limit{Limiter: limiter, Key: key, Answers: []LimitAnswer{}, Counts: []LimitCounts{}},
			failure("read the plans of limiter", quoted(limiter), err)
	}
	shown, err := l.show(ctx, limiter, key, []limitview.Plan{{Algorithm: algorithm.String(), Rules: rules}})
	for i := range shown.Answers {
		shown.Answers[i].Plan = name
	}
	return shown, err
}

func (l *Limits) show(ctx context.Context, limiter, key string, plans []limitview.Plan) (Limit, error) {
	shown := Limit{Limiter: limiter, Key: key, Answers: []LimitAnswer{}, Counts: []LimitCounts{}}
	fail := func(err error) (Limit, error) {
		return shown, failure("show limit", quoted(limiter)+" key "+quoted(key), err)
	}
	if err := checkName("limiter", limiter); err != nil {
		return fail(err)
	}
	state, err := l.view.Read(ctx, l.in.core, limiter, key)
	if err != nil {
		return fail(err)
	}
	for _, c := range state.Counts {
		counts := LimitCounts{Algorithm: c.Algorithm, Bytes: c.Bytes, TTLLeft: Duration(c.TTL), Slots: []LimitSlot{},
			Entries: c.Entries, Problem: c.Problem}
		for _, s := range c.Slots {
			counts.Slots = append(counts.Slots, LimitSlot{s.ID, s.Count, Duration(s.Ends)})
		}
		shown.Counts = append(shown.Counts, counts)
	}
	shown.Permits = PermitState{state.Permits.Held, Duration(state.Permits.First), Duration(state.Permits.Last)}

	for _, p := range plans {
		a, err := l.view.Peek(ctx, l.in.core, limiter, key, p)
		if err != nil {
			return fail(err)
		}
		answer := LimitAnswer{Algorithm: p.Algorithm, Allowed: a.Allowed, Rule: a.Rule, RetryAfter: Duration(a.RetryAfter),
			Never: a.RetryAfter == ratelimit.Never, Rules: []RuleState{}}
		if answer.Never {
			answer.RetryAfter = 0
		}
		for _, r := range a.Rules {
			answer.Rules = append(answer.Rules, RuleState{Name: r.Name, Limit: r.Limit, Remaining: r.Remaining,
				RetryAfter: Duration(r.RetryAfter), NextAfter: Duration(r.NextAfter), ResetAfter: Duration(r.ResetAfter)})
		}
		shown.Answers = append(shown.Answers, answer)
	}
	return shown, nil
}

// Reset removes all charges of a key, in every plan and algorithm, as ratelimit.Limiter.Reset does.
// Other processes may deny the key from memory for up to one more second, and may use tokens that
// they have leased. It returns how many states it removed. Errors: [ErrNotFound] if there was none.
func (l *Limits) Reset(ctx context.Context, limiter, key string) (int64, error) {
	return l.change(ctx, "reset", limiter, key, l.view.Reset)
}

// EndPermits ends all permits of a key of a concurrency limit. Their holders are not notified: they
// get ratelimit.ErrExpired from Extend and Release, and new work may run next to theirs. Errors:
// [ErrNotFound] if no permit was out.
func (l *Limits) EndPermits(ctx context.Context, limiter, key string) error {
	_, err := l.change(ctx, "end permits", limiter, key, l.view.EndPermits)
	return err
}

func (l *Limits) change(ctx context.Context, verb, limiter, key string,
	do func(ctx context.Context, c *core.Core, name, key string) (int64, error)) (int64, error) {
	return l.in.repair(ctx, repair{"limit", verb, limiter, key}, func(ctx context.Context) (int64, error) {
		if err := checkName("limiter", limiter); err != nil {
			return 0, err
		}
		removed, err := do(ctx, l.in.core, limiter, key)
		if err == nil && removed == 0 {
			err = ErrNotFound
		}
		return removed, err
	})
}
