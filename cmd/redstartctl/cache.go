package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// cacheCommand returns the verbs for caches.
func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cache", Short: "Cached values: why they are served or not, and repairs"}
	cmd.AddCommand(a.cacheList(), a.cacheExplain(), a.cacheGet())

	for _, one := range []struct {
		use, short, long string
		args             int
		do               func(ctx context.Context, c *inspect.Caches, args []string) error
	}{
		{"delete CACHE KEY", "Remove a value; loads that are running can't store theirs", "", 2,
			func(ctx context.Context, c *inspect.Caches, args []string) error {
				return c.Delete(ctx, args[0], args[1])
			}},
		{"expire CACHE KEY", "Make a value stale: it is served until its reload", "", 2,
			func(ctx context.Context, c *inspect.Caches, args []string) error {
				return c.Expire(ctx, args[0], args[1])
			}},
		{"invalidate CACHE TAG", "End every entry with a tag", "", 2,
			func(ctx context.Context, c *inspect.Caches, args []string) error {
				return c.InvalidateTag(ctx, args[0], args[1])
			}},
		{"clear CACHE", "End every entry of a cache", "All services load all keys again: the source must bear that.", 1,
			func(ctx context.Context, c *inspect.Caches, args []string) error { return c.Clear(ctx, args[0]) }},
	} {
		cmd.AddCommand(&cobra.Command{Use: one.use, Short: one.short, Long: one.long, Args: cobra.ExactArgs(one.args),
			RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
				if err := one.do(ctx, in.Caches(), args); err != nil {
					return err
				}
				return a.done(1, "done")
			})})
	}
	return cmd
}

func (a *app) cacheList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List the caches with their estimated entries and bytes", Args: cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			list, err := in.Caches().List(ctx, inspect.Page{Limit: limit})
			if err != nil {
				return err
			}
			return a.print(list, func() error {
				rows := [][]string{{"CACHE", "ENTRIES", "BYTES", "LOADING"}}
				about := map[bool]string{true: "", false: "~"}[list.Complete]
				for _, c := range list.Items {
					rows = append(rows, []string{cell(c.Name), about + strconv.FormatInt(c.Entries, 10),
						"~" + strconv.FormatInt(c.Bytes, 10), strconv.FormatInt(c.Loading, 10)})
				}
				return a.table(rows)
			})
		})}
	cmd.Flags().IntVar(&limit, "limit", 500, "most caches to list, at most 500")
	return cmd
}

func (a *app) cacheExplain() *cobra.Command {
	cmd := &cobra.Command{Use: "explain CACHE KEY", Short: "Say what a read would be, and why", Args: cobra.ExactArgs(2),
		Long: `Say what a read would be, and why: a hit, stale, negative, or a miss.

It explains the read of a service with the Version of the newest entry. --version selects another one.`}
	version := cmd.Flags().String("version", "", "explain the read of a cache with this Options.Version")
	cmd.RunE = a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
		explain := in.Caches().Explain
		if cmd.Flags().Changed("version") {
			explain = func(ctx context.Context, cache, key string) (inspect.Explanation, error) {
				return in.Caches().ExplainVersion(ctx, cache, key, *version)
			}
		}
		why, err := explain(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		return a.print(why, func() error { return a.showExplanation(&why) })
	})
	return cmd
}

func (a *app) cacheGet() *cobra.Command {
	return &cobra.Command{Use: "get CACHE KEY", Short: "Write the stored value, which may be secret", Args: cobra.ExactArgs(2),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			value, err := in.Caches().Get(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.print(value, func() error {
				_, err := fmt.Fprintln(a.stdout, lines(string(value.Data)))
				return err
			})
		})}
}

func (a *app) showExplanation(why *inspect.Explanation) error {
	reason := why.Reason
	if why.Detail != "" {
		reason += " (" + cell(why.Detail) + ")"
	}
	lease := why.Lease
	if lease != "" {
		lease += ", " + short(why.LeaseLeft) + " left"
	}
	stored := "no"
	if why.Present {
		stored = fmt.Sprintf("%d bytes, removed in %s", why.Bytes, short(why.TTLLeft))
	}
	err := a.fields("cache", cell(why.Cache), "key", cell(why.Key), "verdict", why.Verdict, "reason", reason, "stored", stored,
		"lease", lease, "last load", why.LastLoad)
	if err != nil || len(why.Entries) == 0 {
		return err
	}

	rows := [][]string{{"VERDICT", "REASON", "CODEC", "SCHEMA", "FRESH FOR", "LOAD", "BYTES", "VALUE", "TAGS"}}
	for _, e := range why.Entries {
		tags := ""
		for _, t := range e.Tags {
			tags += cell(t.Name) + " " + t.State + "; "
		}
		rows = append(rows, []string{e.Verdict, e.Reason, dash(e.Codec), dash(e.Schema), short(e.FreshLeft), short(e.LoadTime),
			strconv.FormatInt(e.Bytes, 10), strconv.FormatInt(e.ValueBytes, 10), dash(tags)})
	}
	fmt.Fprintln(a.stdout)
	return a.table(rows)
}
