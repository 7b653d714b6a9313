package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// eventsCommand returns the verbs for durable buses.
func (a *app) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "events", Short: "Durable buses: groups, events and dead letters"}
	cmd.AddCommand(a.eventsBuses(), a.eventsGroups(), a.eventsPartitions(), a.eventsBlocked(), a.eventsWaiting(),
		a.eventsPeek(), a.eventsTail(), a.deadCommand(), a.eventsPause(), a.eventsResume(), a.eventsDropGroup())
	return cmd
}

func (a *app) eventsBuses() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "buses",
		Short: "List the durable buses",
		Args:  cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			buses, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.BusInfo], error) {
				return in.Events().Buses(ctx, p)
			})
			if err != nil {
				return err
			}
			buses = unique(buses)
			a.moreItems(more, limit)
			return a.print(buses, func() error {
				rows := [][]string{{"NAME", "PARTITIONS", "PROBLEM"}}
				for _, b := range buses {
					rows = append(rows, []string{cell(b.Name), strconv.Itoa(b.Partitions), printable(b.Problem)})
				}
				return a.table(rows)
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "most buses to list")
	return cmd
}

func (a *app) eventsGroups() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "groups BUS",
		Short: "List the groups of a bus and the events that wait for them",
		Args:  cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			groups, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.GroupInfo], error) {
				return in.Events().Groups(ctx, args[0], p)
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			for i := range groups {
				a.problem("group "+cell(groups[i].Name), groups[i].Problem)
			}
			return a.print(groups, func() error {
				rows := [][]string{{"GROUP", "PROCESSES", "LAG", "PENDING", "PARKED", "DELAYED", "DEAD", "OLDEST", "STATE"}}
				for i := range groups {
					rows = append(rows, groupRow(&groups[i]))
				}
				return a.table(rows)
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "most groups to list")
	return cmd
}

func groupRow(g *inspect.GroupInfo) []string {
	return []string{cell(g.Name), strconv.Itoa(g.Processes), number(g.Lag), number(g.Pending), number(g.Parked),
		number(g.Delayed), number(g.Dead), age(g.Oldest), stateOf(g)}
}

// stateOf returns the state of a group. "in part" says that the counts lack some partitions.
func stateOf(g *inspect.GroupInfo) string {
	state := "runs"
	switch {
	case !g.PausedSince.IsZero():
		state = "paused"
	case g.Processes == 0:
		state = "stopped"
	}
	if g.Problem != "" {
		state += ", in part"
	}
	return state
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func age(d inspect.Duration) string {
	if d == 0 {
		return "-"
	}
	return short(d)
}

func (a *app) eventsPartitions() *cobra.Command {
	var limit int
	var group string
	cmd := &cobra.Command{
		Use:   "partitions BUS",
		Short: "List the partitions of a bus, and their owners with --group",
		Args:  cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			parts, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.PartitionInfo], error) {
				return in.Events().Partitions(ctx, args[0], group, p)
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			for i := range parts {
				a.problem("partition "+strconv.Itoa(parts[i].Partition), parts[i].Problem)
			}
			return a.print(parts, func() error { return a.table(partitionRows(parts, group != "")) })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 1024, "most partitions to list")
	cmd.Flags().StringVar(&group, "group", "", "group whose owners and backlog to show")
	return cmd
}

func partitionRows(parts []inspect.PartitionInfo, group bool) [][]string {
	head := []string{"PARTITION", "EVENTS", "DELAYED", "GROUPS"}
	if group {
		head = append(head, "OWNER", "LEASE", "UNREAD", "PENDING", "PARKED", "DEAD", "OLDEST")
	}
	rows := [][]string{head}
	for i := range parts {
		p := &parts[i]
		row := []string{strconv.Itoa(p.Partition), number(p.Events), number(p.Delayed), number(p.Groups)}
		if group {
			row = append(row, orDash(p.Owner), age(p.LeaseLeft), number(p.Unread), number(p.Pending), number(p.Parked),
				number(p.Dead), age(p.Oldest))
		}
		rows = append(rows, row)
	}
	return rows
}

func (a *app) eventsBlocked() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "blocked BUS GROUP",
		Short: "List the channels whose events wait behind a failed event, or in a long list",
		Args:  cobra.ExactArgs(2),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			list, err := in.Events().Blocked(ctx, args[0], args[1], inspect.Page{Limit: limit})
			if err != nil {
				return err
			}
			a.moreItems(!list.Complete, limit)
			return a.print(list.Items, func() error {
				rows := [][]string{{"CHANNEL", "PARTITION", "WAITING", "FIRST EVENT", "ATTEMPTS", "NEXT ATTEMPT"}}
				for _, b := range list.Items {
					due := when(b.Due)
					if b.Held {
						due = "now"
					}
					rows = append(rows, []string{cell(b.Channel), strconv.Itoa(b.Partition), number(b.Waiting), orDash(b.Head),
						strconv.Itoa(b.Attempts), due})
				}
				return a.table(rows)
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "most channels to list, at most 500")
	return cmd
}

func (a *app) eventsWaiting() *cobra.Command {
	limit, data := 20, false
	cmd := &cobra.Command{
		Use:   "waiting BUS GROUP CHANNEL",
		Short: "Show the events of a blocked channel, the failing one first",
		Args:  cobra.ExactArgs(3),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			events, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.WaitingEvent], error) {
				return in.Events().Waiting(ctx, args[0], args[1], args[2], data, p)
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			return a.print(events, func() error {
				rows := [][]string{{"POSITION", "ATTEMPTS", "TYPE", "ID", "BYTES", dataHead(data)}}
				for i := range events {
					row := eventRow(&events[i].EventInfo)
					rows = append(rows, append([]string{row[0], strconv.Itoa(events[i].Attempts)}, row[3:]...))
				}
				return a.table(rows)
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "most events to show")
	cmd.Flags().BoolVar(&data, "data", false, "show the data of events up to 64 KiB")
	return cmd
}

func (a *app) eventsPeek() *cobra.Command {
	var o inspect.PeekOptions
	limit := 20
	cmd := &cobra.Command{
		Use:   "peek BUS",
		Short: "Show stored events without a group, the newest first",
		Args:  cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			events, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.EventInfo], error) {
				list, err := in.Events().Peek(ctx, args[0], o, p)
				for _, problem := range list.Problems {
					a.problem("events are missing", problem)
				}
				return list, err
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			return a.print(events, func() error {
				rows := [][]string{{"POSITION", "PARTITION", "CHANNEL", "TYPE", "ID", "BYTES", dataHead(o.Data)}}
				for i := range events {
					rows = append(rows, eventRow(&events[i]))
				}
				return a.table(rows)
			})
		}),
	}
	flags := cmd.Flags()
	flags.IntVar(&limit, "limit", limit, "most events to show")
	flags.StringVar(&o.Channel, "channel", "", "only the events of this channel")
	flags.IntSliceVar(&o.Partitions, "partition", nil, "only these partitions")
	flags.BoolVar(&o.Oldest, "oldest", false, "the oldest first")
	flags.BoolVar(&o.Data, "data", false, "show the data of events up to 64 KiB")
	return cmd
}

func dataHead(data bool) string {
	if data {
		return "DATA"
	}
	return "PROBLEM"
}

func eventRow(e *inspect.EventInfo) []string {
	last := oneLine(e.Problem)
	if e.Problem == "" && e.Data != nil {
		last = oneLine(string(e.Data))
	}
	return []string{e.Position, strconv.Itoa(e.Partition), orDash(e.Channel), orDash(e.Type), orDash(e.ID), strconv.Itoa(e.Bytes), last}
}

// oneLine returns a message or JSON for a table: printable, on one line, and bounded.
func oneLine(text string) string {
	long := len(text) > maxCell
	text = printable(text[:min(len(text), maxCell)])
	if long {
		text += "…"
	}
	return text
}

func (a *app) eventsTail() *cobra.Command {
	var o inspect.TailOptions
	cmd := &cobra.Command{
		Use:   "tail BUS",
		Short: "Show events as they are published, until Ctrl-C",
		Long: `Show events as they are published, until Ctrl-C. It reads without a group.

With --json, each line is one event.`,
		Args: cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			for e, err := range in.Events().Tail(ctx, args[0], o) {
				if err != nil && !answered(err) { // an outage: Tail tries again
					fmt.Fprintf(a.stderr, "redstartctl: %s\n", printable(err.Error()))
					continue
				}
				if err == nil {
					err = a.tailLine(&e)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Limit, "limit", 0, "end after this many events (default no limit)")
	flags.StringVar(&o.Channel, "channel", "", "only the events of this channel")
	flags.IntSliceVar(&o.Partitions, "partition", nil, "only these partitions")
	flags.StringVar(&o.From, "from", "", "begin behind this position (default now)")
	flags.DurationVar(&o.Every, "every", 250*time.Millisecond, "time between two reads that found nothing")
	flags.BoolVar(&o.Data, "data", false, "show the data of events up to 64 KiB")
	return cmd
}

func (a *app) tailLine(e *inspect.EventInfo) error {
	if a.json {
		return encodeJSON(a.stdout, e, "")
	}
	row := eventRow(e)
	_, err := fmt.Fprintf(a.stdout, "%s %s %s %s %s\n", row[0], row[2], row[3], row[4], row[6])
	return err
}
