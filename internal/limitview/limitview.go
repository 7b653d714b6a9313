// Package limitview describes what limiters keep on the server, for package inspect.
//
// Package ratelimit owns the formats and the scripts. It registers its functions here when it is
// initialized, so that its public API stays free of methods that only tools need. Only packages of
// this repository can import this package.
package limitview

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// Rule is a ratelimit.Rule.
type Rule struct {
	Name     string
	Limit    int64
	Window   time.Duration
	Burst    int64
	Calendar int
	Zone     *time.Location
}

// Plan is the rules of a limiter, with its algorithm.
type Plan struct {
	Algorithm string
	Rules     []Rule
}

// RuleState is the state of one rule of a plan.
type RuleState struct {
	Name                              string
	Limit, Remaining                  int64
	RetryAfter, NextAfter, ResetAfter time.Duration
}

// Answer is what the next request for one token would get. Nothing is charged.
type Answer struct {
	Allowed    bool
	Rule       string
	RetryAfter time.Duration
	Rules      []RuleState
}

// Slot is the stored count of one rule, whose name is not stored.
type Slot struct {
	ID    string        // digest of the rule
	Count int64         // tokens of the window of the last charge; 0 after Ends; -1 for GCRA, which stores a time
	Ends  time.Duration // until no tokens of the rule count; for the sliding window, at most this time
}

// Counts is the state of one algorithm.
type Counts struct {
	Algorithm string
	Bytes     int64
	TTL       time.Duration
	Slots     []Slot
	Entries   int64  // of a sliding log
	Problem   string // the stored value is not of this release
}

// Permits are the permits of a concurrency limit.
type Permits struct {
	Held        int64
	First, Last time.Duration // until the first and the last of them end, without an extension
}

// State is what the server has for a key.
type State struct {
	Counts  []Counts
	Permits Permits
}

// Functions are what package ratelimit registers.
type Functions struct {
	// Plans returns the plans of the limiters with a name in this process, at most 16.
	Plans func(c *core.Core, name string) []Plan
	// StoredPlan returns the first of some plans that has rules on the server, and its rules. An
	// empty name reports that none has: one round trip.
	StoredPlan func(ctx context.Context, c *core.Core, limiter string, plans []string) (name string, rules []Rule, err error)
	// Read reads what the server has for a key: one round trip. It writes nothing.
	Read func(ctx context.Context, c *core.Core, name, key string) (State, error)
	// Peek asks what the next request would get: one round trip. It writes nothing.
	Peek func(ctx context.Context, c *core.Core, name, key string, p Plan) (Answer, error)
	// Reset removes all charges of a key, of each algorithm, and returns how many states there
	// were: one round trip.
	Reset func(ctx context.Context, c *core.Core, name, key string) (int64, error)
	// EndPermits ends all permits of a key, and returns whether there were any: one round trip.
	EndPermits func(ctx context.Context, c *core.Core, name, key string) (int64, error)
	// IsState reports whether a key of the limiter's space holds charges or permits.
	IsState func(suffix string, sibling bool) bool
}

var registered Functions

// Register sets the functions. Only package ratelimit calls it, in a variable declaration, and the
// result is of no use.
func Register(f Functions) struct{} {
	if registered.Read != nil {
		panic("limitview: registered twice")
	}
	registered = f
	return struct{}{}
}

// Of returns the functions of package ratelimit, which the caller's program must import.
func Of() Functions { return registered }
