package shop

import (
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/store"
)

// Limits are the rate limits of the shop.
type Limits struct {
	Free, Pro      []ratelimit.Rule // API requests per user of the plan; visitors have the free plan, per address
	LoginByAddress []ratelimit.Rule // login and sign-up attempts per address
	// LoginByPair limits the login attempts per account and address since the last success. A
	// guesser reaches this limit first.
	LoginByPair []ratelimit.Rule
	// LoginByAccount limits the login attempts per account from all addresses. It is higher and its
	// window is longer, so that a guesser can't lock the owner out with a few attempts.
	LoginByAccount []ratelimit.Rule
}

// DefaultLimits returns limits that people do not reach and programs do.
func DefaultLimits() Limits {
	return Limits{
		Free:           []ratelimit.Rule{ratelimit.PerSecond(50), ratelimit.PerMinute(1200)},
		Pro:            []ratelimit.Rule{ratelimit.PerSecond(500), ratelimit.PerMinute(20_000)},
		LoginByAddress: []ratelimit.Rule{ratelimit.PerMinute(30)},
		LoginByPair:    []ratelimit.Rule{{Limit: 10, Window: 15 * time.Minute}},
		LoginByAccount: []ratelimit.Rule{{Limit: 200, Window: time.Hour}},
	}
}

// Limiters enforce Limits across all instances.
type Limiters struct {
	LoginByAddress, LoginByPair, LoginByAccount *ratelimit.Limiter

	free, pro *ratelimit.Limiter
}

// API returns the API limiter of a plan. Visitors have no plan and get the free limiter.
func (l Limiters) API(plan string) *ratelimit.Limiter {
	if plan == store.PlanPro {
		return l.pro
	}
	return l.free
}

func newLimiters(client *redstart.Client, limits *Limits) (l Limiters, err error) {
	if limits == nil {
		limits = new(DefaultLimits())
	}
	// Without Redis the API is unlimited, because a possible flood is better than a shop that
	// serves no user.
	if l.free, err = ratelimit.New(client, "api", ratelimit.Options{Rules: limits.Free, Outage: ratelimit.FailOpen}); err != nil {
		return l, err
	}
	if l.pro, err = l.free.With(limits.Pro...); err != nil {
		return l, err
	}
	// Without Redis no login can succeed, because its session can't be stored. So the limiter
	// refuses it before the password check. During an outage, guesses are not unlimited, and no
	// time is spent on hashing.
	guarded := func(rules []ratelimit.Rule) ratelimit.Options {
		return ratelimit.Options{Rules: rules, Algorithm: ratelimit.SlidingLog, Outage: ratelimit.FailClosed, HashKeys: true}
	}
	if l.LoginByAddress, err = ratelimit.New(client, "login-address", guarded(limits.LoginByAddress)); err != nil {
		return l, err
	}
	if l.LoginByPair, err = ratelimit.New(client, "login-pair", guarded(limits.LoginByPair)); err != nil {
		return l, err
	}
	l.LoginByAccount, err = ratelimit.New(client, "login-account", guarded(limits.LoginByAccount))
	return l, err
}
