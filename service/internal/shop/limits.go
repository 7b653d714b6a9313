package shop

import (
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/store"
)

// Limits say how often what may be asked for.
type Limits struct {
	Free, Pro      []ratelimit.Rule // requests to the API, per user of that plan; visitors: Free, per address
	LoginByAddress []ratelimit.Rule // tries to log in or sign up, per address
	// LoginByPair bounds tries to log in to one account from one address since the last that succeeded: this is what a guesser meets first.
	LoginByPair []ratelimit.Rule
	// LoginByAccount bounds tries to log in to one account from all addresses. It is slower and wider, so that a guesser can't lock the owner out with a few tries.
	LoginByAccount []ratelimit.Rule
}

// DefaultLimits are generous to people and not to programs.
func DefaultLimits() Limits {
	return Limits{
		Free:           []ratelimit.Rule{ratelimit.PerSecond(50), ratelimit.PerMinute(1200)},
		Pro:            []ratelimit.Rule{ratelimit.PerSecond(500), ratelimit.PerMinute(20_000)},
		LoginByAddress: []ratelimit.Rule{ratelimit.PerMinute(30)},
		LoginByPair:    []ratelimit.Rule{{Limit: 10, Window: 15 * time.Minute}},
		LoginByAccount: []ratelimit.Rule{{Limit: 200, Window: time.Hour}},
	}
}

// Limiters enforce Limits over all instances.
type Limiters struct {
	LoginByAddress, LoginByPair, LoginByAccount *ratelimit.Limiter

	free, pro *ratelimit.Limiter
}

// API is the limiter of the API for a plan; visitors have none and get the free one.
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
	// Without Redis the API goes on unlimited: to serve a flood for a while is better than to serve nobody.
	if l.free, err = ratelimit.New(client, "api", ratelimit.Options{Rules: limits.Free, Outage: ratelimit.FailOpen}); err != nil {
		return l, err
	}
	if l.pro, err = l.free.With(limits.Pro...); err != nil {
		return l, err
	}
	// Without Redis no login can succeed, since its session could not be stored. So it is refused before a password
	// is looked at: guessing is not unlimited during an outage, and no time goes into hashing.
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
