package ratelimit

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
)

//go:embed plans.lua
var plansLua string

var plansScript = script.New(plansLua)

// The bounds of the plans of one limiter.
const (
	maxPlans     = 100_000
	maxPlansSize = 16 << 20
	maxPlanSize  = 4 << 10
)

// storedPlan is the rules of a plan, as Redis stores them.
type storedPlan struct {
	Format int          `json:"v"`
	Rules  []storedRule `json:"rules"`
}

const planFormat = 1

type storedRule struct {
	Name     string   `json:"name,omitempty"`
	Limit    int64    `json:"limit"`
	Window   int64    `json:"us,omitempty"`
	Burst    int64    `json:"burst,omitempty"`
	Calendar Calendar `json:"calendar,omitempty"`
	Zone     string   `json:"zone,omitempty"`
}

func encodePlan(rules []Rule) (string, error) {
	stored := storedPlan{Format: planFormat}
	for _, r := range rules {
		one := storedRule{Name: r.Name, Limit: r.Limit, Window: r.Window.Microseconds(), Burst: r.Burst, Calendar: r.Calendar}
		if r.Zone != nil {
			one.Zone = r.Zone.String()
		}
		stored.Rules = append(stored.Rules, one)
	}
	text, err := json.Marshal(stored)
	return string(text), err
}

// decodePlan is strict: rules that this release does not understand are not applied in part.
func decodePlan(text string) ([]Rule, error) {
	var stored storedPlan
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fault.New(fault.ErrCorrupt, fmt.Errorf("a stored plan is unreadable: %w", err), "set it again")
	}

	if stored.Format != planFormat {
		return nil, fault.New(fault.ErrCorrupt,
			fmt.Errorf("a stored plan has format %d, this release reads %d", stored.Format, planFormat), "")
	}

	var rules []Rule
	for _, one := range stored.Rules {
		r := Rule{Name: one.Name, Limit: one.Limit, Window: time.Duration(one.Window) * time.Microsecond,
			Burst: one.Burst, Calendar: one.Calendar}
		if one.Zone != "" {
			zone, err := time.LoadLocation(one.Zone)
			if err != nil {
				return nil, fmt.Errorf("ratelimit: a stored plan counts by a zone that this machine does not have: %w", err)
			}
			r.Zone = zone
		}
		rules = append(rules, r)
	}

	return rules, nil
}

// Set stores the rules of a plan and replaces its old rules. It takes one round trip. This process
// uses the rules from its next call of For. Every other process uses them within
// [PlansOptions.Refresh].
//
// Errors: the errors of [New] for invalid rules; redstart.ErrTooLarge for an empty name, a name
// above 1,024 bytes, rules above 4 KiB, more than 100,000 plans, or more than 16 MiB of plans; the
// class of the failure of Redis.
func (p *Plans) Set(ctx context.Context, name string, rules ...Rule) error {
	if _, err := newPlan(p.base.opt.Algorithm, rules); err != nil {
		return err
	}

	text, err := encodePlan(rules)
	if err != nil {
		return fmt.Errorf("ratelimit: set plan: %w", err)
	}

	if _, err := decodePlan(text); err != nil { // for example a zone that only this process has
		return err
	}

	if len(text) > maxPlanSize {
		return tooLarge("the rules of plan %.64q are %d bytes long, at most %d are allowed", name, len(text), maxPlanSize)
	}

	return p.change(ctx, "set plan", name, text)
}

// Delete removes the rules of a plan. It takes one round trip. A plan without rules is not an
// error.
func (p *Plans) Delete(ctx context.Context, name string) error {
	return p.change(ctx, "delete plan", name, "")
}

func (p *Plans) change(ctx context.Context, op, name, text string) error {
	if name == "" || len(name) > maxKey {
		return tooLarge("the name of a plan is %d bytes long, it must have 1 to %d", len(name), maxKey)
	}

	ctx, end := p.base.core.Start(ctx, observe.Operation{Pattern: "ratelimit", Name: p.base.name, Verb: op})
	version, err := p.write(ctx, name, text)
	switch {
	case err != nil:
		err = fmt.Errorf("ratelimit: %s: %w", op, err)
	case version < 0:
		err = tooLarge("plan %.64q is beyond the %d plans or %d bytes that a limiter can have", name, maxPlans, maxPlansSize)
	}

	p.expireVersion() // also after an error: the server may have executed the script
	end(err)

	return err
}

func (p *Plans) write(ctx context.Context, name, text string) (int64, error) {
	msg, err := p.base.core.Eval(ctx, plansScript, []string{p.key},
		[]string{planField(name), text, decimal(maxPlans), decimal(maxPlansSize)})
	if err != nil {
		return 0, err
	}
	return msg.AsInt64()
}

// Rules returns the stored rules of a plan, from Redis. It takes one round trip. If the plan has no
// rules, it returns none and no error.
func (p *Plans) Rules(ctx context.Context, name string) ([]Rule, error) {
	_, texts, err := p.fetch(ctx, []string{name})
	if err != nil {
		return nil, fmt.Errorf("ratelimit: rules of a plan: %w", err)
	}
	if texts[0] == "" {
		return nil, nil
	}
	return decodePlan(texts[0])
}

// fetch reads the version and the rules of plans in one command. The text of a plan without rules
// is "".
func (p *Plans) fetch(ctx context.Context, names []string) (version int64, texts []string, err error) {
	args := []string{"version"}
	for _, name := range names {
		args = append(args, planField(name))
	}

	msg, err := p.base.core.Do(ctx, core.Read("HMGET", p.key, args...))
	if err != nil {
		return 0, nil, err
	}

	all, err := msg.ToArray()
	if err != nil || len(all) != len(args) {
		return 0, nil, fault.New(fault.ErrCorrupt,
			errors.Join(err, fmt.Errorf("%d values for %d fields of the plans", len(all), len(args))), "")
	}

	if !all[0].IsNil() {
		if version, err = all[0].AsInt64(); err != nil {
			return 0, nil, fault.New(fault.ErrCorrupt, err, "is another key stored in the place of the plans?")
		}
	}

	texts = make([]string, len(names))
	for i := range texts {
		if !all[i+1].IsNil() {
			if texts[i], err = all[i+1].ToString(); err != nil {
				return 0, nil, err
			}
		}
	}

	return version, texts, nil
}

// plansKey returns the key of the plans of a limiter.
func plansKey(space keys.Space) string { return space.Sibling("", "plans") }

func planField(name string) string { return "=" + name }

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("ratelimit: %w", fault.New(fault.ErrTooLarge, fmt.Errorf(format, args...), ""))
}
