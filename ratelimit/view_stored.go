package ratelimit

import (
	"context"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/limitview"
)

// viewStoredPlan returns the first of some plans that has stored rules, and its rules. It selects
// the plan as [Plans.For] does. An empty name reports that none has rules.
func viewStoredPlan(ctx context.Context, c *core.Core, limiter string, names []string) (name string, rules []limitview.Rule, err error) {
	if len(names) > planNames {
		return "", nil, tooLarge("%d plans are given, at most %d are allowed", len(names), planNames)
	}
	for _, name := range names {
		if name == "" || len(name) > maxKey {
			return "", nil, tooLarge("the name of a plan is %d bytes long, it must have 1 to %d", len(name), maxKey)
		}
	}
	space, err := c.Keys("limit", limiter)
	if err != nil || len(names) == 0 {
		return "", nil, err
	}

	p := &Plans{base: &Limiter{shared: &shared{core: c, name: limiter, space: space}}, key: plansKey(space)}
	_, texts, err := p.fetch(ctx, names)
	if err != nil {
		return "", nil, err
	}
	for i, text := range texts {
		if text == "" {
			continue
		}
		stored, err := decodePlan(text)
		if err != nil {
			return names[i], nil, err
		}
		for _, r := range stored {
			rules = append(rules, limitview.Rule{Name: r.Name, Limit: r.Limit, Window: r.Window, Burst: r.Burst,
				Calendar: int(r.Calendar), Zone: r.Zone})
		}
		return names[i], rules, nil
	}
	return "", nil, nil
}
