package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/ratelimit"
)

// limitCommand returns the verbs for limits.
func (a *app) limitCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "limit", Short: "Rate limits and concurrency limits"}
	cmd.AddCommand(a.limitList(), a.limitKeys(), a.limitShow(), a.limitReset())
	return cmd
}

func (a *app) limitList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List the limiters that have charges or permits", Args: cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			limiters, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.LimiterInfo], error) {
				return in.Limits().List(ctx, p)
			})
			if err != nil {
				return err
			}
			limiters = unique(limiters)
			slices.SortFunc(limiters, func(a, b inspect.LimiterInfo) int { return strings.Compare(a.Name, b.Name) })
			a.moreItems(more, limit)
			return a.print(limiters, func() error {
				rows := [][]string{{"LIMITER"}}
				for _, l := range limiters {
					rows = append(rows, []string{cell(l.Name)})
				}
				return a.table(rows)
			})
		})}
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "most limiters to list")
	return cmd
}

func (a *app) limitKeys() *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "keys LIMITER", Short: "List the keys of a limiter that have charges or permits",
		Args: cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			keys, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[string], error) {
				return in.Limits().Keys(ctx, args[0], p)
			})
			if err != nil {
				return err
			}
			keys = unique(keys)
			slices.Sort(keys)
			a.moreItems(more, limit)
			return a.print(keys, func() error {
				rows := [][]string{{"KEY"}}
				for _, key := range keys {
					rows = append(rows, []string{cell(key)})
				}
				return a.table(rows)
			})
		})}
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "most keys to list")
	return cmd
}

func (a *app) limitShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show LIMITER KEY", Short: "Show the state of a key, and what its next request would get",
		Args: cobra.ExactArgs(2),
		Long: `Show the state of a key, and what its next request would get.

The server does not store the rules and the algorithm of a limiter. With --rule and --algorithm as the service has them,
the verb asks what the next request would get, and charges nothing. The server stores the rules of plans: --plan reads
them instead of --rule. The first plan that has rules is used, as in the service: name the plans in its order.`}
	rules := cmd.Flags().StringArray("rule", nil, "rule of the limiter, tokens/window: 100/1m; with a name: name=100/1m; may be repeated")
	plans := cmd.Flags().StringArray("plan", nil, "name of a stored plan; may be repeated")
	algorithm := cmd.Flags().String("algorithm", ratelimit.GCRA.String(), "GCRA, SlidingLog, SlidingWindow or FixedWindow")
	cmd.MarkFlagsMutuallyExclusive("rule", "plan")
	cmd.RunE = a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
		given, err := parseRules(*rules)
		if err != nil {
			return exitError{exitFailed, err}
		}
		chosen, err := parseAlgorithm(*algorithm)
		if err != nil {
			return exitError{exitFailed, err}
		}
		var limit inspect.Limit
		switch limits := in.Limits(); {
		case len(*plans) > 0:
			limit, err = limits.ShowPlan(ctx, args[0], args[1], chosen, *plans...)
		case len(given) > 0:
			limit, err = limits.ShowRules(ctx, args[0], args[1], chosen, given...)
		default:
			limit, err = limits.Show(ctx, args[0], args[1])
		}
		if err != nil {
			return err
		}
		return a.print(limit, func() error { return a.showLimit(&limit) })
	})
	return cmd
}

func (a *app) limitReset() *cobra.Command {
	var permits bool
	cmd := &cobra.Command{Use: "reset LIMITER KEY", Short: "Remove all charges of a key", Args: cobra.ExactArgs(2),
		Long: `Remove all charges of a key, in every plan and algorithm.

Services may deny the key from memory for up to one more second. With --permits, end the permits of a concurrency limit
instead: new work may then run next to the work of their holders.`,
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			if permits {
				if err := in.Limits().EndPermits(ctx, args[0], args[1]); err != nil {
					return err
				}
				return a.done(1, "keys without permits")
			}
			removed, err := in.Limits().Reset(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.done(removed, "states removed")
		})}
	cmd.Flags().BoolVar(&permits, "permits", false, "end the permits of a concurrency limit instead")
	return cmd
}

// parseRules reads rules of the form [name=]limit/window.
func parseRules(texts []string) ([]ratelimit.Rule, error) {
	var rules []ratelimit.Rule
	for _, text := range texts {
		name, rest, named := strings.Cut(text, "=")
		if !named {
			name, rest = "", text
		}
		limit, window, ok := strings.Cut(rest, "/")
		n, err := strconv.ParseInt(limit, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("--rule %s: write tokens/window, such as 100/1m", cell(text))
		}
		d, err := time.ParseDuration(window)
		if err != nil {
			return nil, fmt.Errorf("--rule %s: the window must be a duration, such as 1m or 24h", cell(text))
		}
		rules = append(rules, ratelimit.Rule{Name: name, Limit: n, Window: d})
	}
	return rules, nil
}

func parseAlgorithm(name string) (ratelimit.Algorithm, error) {
	for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
		if strings.EqualFold(a.String(), name) {
			return a, nil
		}
	}
	return 0, fmt.Errorf("--algorithm %s: use GCRA, SlidingLog, SlidingWindow or FixedWindow", cell(name))
}

func (a *app) showLimit(l *inspect.Limit) error {
	permits := ""
	if l.Permits.Held > 0 {
		permits = fmt.Sprintf("%d out, the first ends in %s", l.Permits.Held, short(l.Permits.First))
	}
	if err := a.fields("limiter", cell(l.Limiter), "key", cell(l.Key), "permits", permits); err != nil {
		return err
	}
	for _, answer := range l.Answers {
		next := "allowed"
		switch {
		case answer.Never:
			next = "never allowed by rule " + cell(answer.Rule)
		case !answer.Allowed:
			next = "refused by rule " + cell(answer.Rule) + ", allowed in " + short(answer.RetryAfter)
		}
		plan := ""
		if answer.Plan != "" {
			plan = cell(answer.Plan)
		}
		if err := a.fields("plan", plan, "next request", next); err != nil {
			return err
		}
		rows := [][]string{{"RULE", "LIMIT", "REMAINING", "RETRY IN", "ONE MORE IN", "ALL IN"}}
		for _, r := range answer.Rules {
			rows = append(rows, []string{cell(r.Name), strconv.FormatInt(r.Limit, 10), strconv.FormatInt(r.Remaining, 10),
				short(r.RetryAfter), short(r.NextAfter), short(r.ResetAfter)})
		}
		if err := a.table(rows); err != nil {
			return err
		}
	}

	rows := [][]string{{"STORED", "DIGEST OF RULE", "TOKENS", "ENDS IN"}}
	for _, c := range l.Counts {
		if c.Problem != "" || c.Entries > 0 {
			rows = append(rows, []string{c.Algorithm, dash(printable(c.Problem)), strconv.FormatInt(c.Entries, 10), short(c.TTLLeft)})
		}
		for _, s := range c.Slots {
			tokens := "-"
			if s.Count >= 0 {
				tokens = strconv.FormatInt(s.Count, 10)
			}
			rows = append(rows, []string{c.Algorithm, cell(s.ID), tokens, short(s.Ends)})
		}
	}
	fmt.Fprintln(a.stdout)
	if len(rows) == 1 {
		_, err := fmt.Fprintln(a.stdout, "nothing is stored: all tokens are available")
		return err
	}
	return a.table(rows)
}
