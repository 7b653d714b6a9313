package ratelimit

import (
	"context"
	"strings"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

// VirtualTime is one algorithm's script with its clock replaced: the two last arguments are what TIME answers. The
// production text has no such argument; the test makes the variant by one textual replacement, so that nothing in
// the shipped script can be told another time.
type VirtualTime struct {
	plan   *plan
	script *script.Script
}

// NewVirtualTime compiles rules and makes the variant.
func NewVirtualTime(a Algorithm, rules ...Rule) VirtualTime {
	p, err := newPlan(a, rules)
	if err != nil {
		panic(err)
	}
	source := p.algorithm.charge.Source()
	const clock = "local t = call('TIME')"
	if strings.Count(source, clock) != 1 || strings.Count(source, "TIME") != 1 {
		panic("the script reads the time elsewhere: " + a.String())
	}
	source = strings.Replace(source, clock, "local t = { ARGV[#ARGV - 1], table.remove(ARGV) }\ntable.remove(ARGV)", 1)
	// Nor may a key expire by the real clock: in the scripts math.ceil rounds TTLs, and nothing else.
	source = strings.ReplaceAll(source, "math.ceil(", "600000 + math.ceil(")
	return VirtualTime{plan: p, script: script.New(source)}
}

// Run runs the variant at a time (µs): a cost above 0 charges, 0 peeks, below 0 refunds.
func (v VirtualTime) Run(ctx context.Context, c *core.Core, key string, now, cost int64) (Result, error) {
	args := append(append([]string{}, v.plan.argsFor(cost)...), decimal(now/1_000_000), decimal(now%1_000_000))
	msg, err := c.Eval(ctx, v.script, []string{key}, args)
	if err != nil {
		return Result{}, err
	}
	switch {
	case cost < 0:
		return Result{}, nil
	case cost == 0:
		r, _, err := v.plan.read(msg, 1, false)
		return r, err
	}
	r, _, err := v.plan.read(msg, cost, true)
	return r, err
}

// Read gives a reply to the code that reads replies.
func (v VirtualTime) Read(msg rueidis.RedisMessage, n int64, charge bool) (Result, error) {
	r, _, err := v.plan.read(msg, n, charge)
	return r, err
}

// Names returns the rules' names, defaults included.
func (v VirtualTime) Names() []string {
	var names []string
	for _, r := range v.plan.rules {
		names = append(names, r.Name)
	}
	return names
}
