package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// deadCommand returns the verbs for dead letters.
func (a *app) deadCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "Dead letters: events that a group has given up"}
	cmd.AddCommand(a.deadList(), a.deadShow(),
		a.deadRepair("redrive", "Give dead letters to their group again, with all attempts", "events redriven",
			(*inspect.Events).Redrive, (*inspect.Events).RedriveAll),
		a.deadRepair("drop", "Delete dead letters", "dead letters deleted",
			(*inspect.Events).Drop, (*inspect.Events).DropAll))
	return cmd
}

func (a *app) deadList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list BUS GROUP",
		Short: "List the dead letters of a group with their causes",
		Args:  cobra.ExactArgs(2),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			dead, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.DeadInfo], error) {
				return in.Events().Dead(ctx, args[0], args[1], p)
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			return a.print(dead, func() error {
				rows := [][]string{{"ID", "DIED", "ATTEMPTS", "CHANNEL", "TYPE", "CAUSE"}}
				for i := range dead {
					d := &dead[i]
					cause := oneLine(d.Cause)
					if d.Event.Problem != "" {
						cause = oneLine(d.Event.Problem)
					}
					rows = append(rows, []string{d.ID, when(d.Died), strconv.Itoa(d.Attempts), orDash(d.Event.Channel),
						orDash(d.Event.Type), cause})
				}
				return a.table(rows)
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "most dead letters to list")
	return cmd
}

func (a *app) deadShow() *cobra.Command {
	var data bool
	cmd := &cobra.Command{
		Use:   "show BUS GROUP ID",
		Short: "Show one dead letter with its whole cause",
		Args:  cobra.ExactArgs(3),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			d, err := in.Events().DeadLetter(ctx, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			if !data {
				d.Event.Data = nil
			}
			return a.print(d, func() error {
				e := &d.Event
				return a.fields("dead letter", d.ID, "died", when(d.Died), "attempts", strconv.Itoa(d.Attempts),
					"cause", lines(d.Cause), "channel", orDash(e.Channel), "type", orDash(e.Type), "event", orDash(e.ID),
					"source", orDash(e.Source), "published", when(e.Time), "trace", printable(e.TraceParent),
					"bytes", strconv.Itoa(e.Bytes), "problem", printable(e.Problem), "data", lines(string(e.Data)))
			})
		}),
	}
	cmd.Flags().BoolVar(&data, "data", false, "show the data of an event up to 64 KiB")
	return cmd
}

// deadRepair returns a verb that repairs dead letters by their ids, or all of them.
func (a *app) deadRepair(name, short, what string,
	some func(e *inspect.Events, ctx context.Context, bus, group string, ids ...string) (int, error),
	every func(e *inspect.Events, ctx context.Context, bus, group string) (int, error)) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   name + " BUS GROUP (ID… | --all)",
		Short: short,
		Args:  cobra.MinimumNArgs(2),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			if all == (len(args) > 2) {
				return errors.New("events dead " + name + ": name dead letters by their ids, or use --all")
			}
			n, err := 0, error(nil)
			if all {
				n, err = every(in.Events(), ctx, args[0], args[1])
			} else {
				n, err = some(in.Events(), ctx, args[0], args[1], args[2:]...)
			}
			if err != nil {
				return err
			}
			return a.done(int64(n), what)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters that the group has now")
	return cmd
}

func (a *app) eventsPause() *cobra.Command {
	return &cobra.Command{
		Use:   "pause BUS GROUP",
		Short: "Pause a group in all its processes; events are kept",
		Args:  cobra.ExactArgs(2),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			changed, err := in.Events().Pause(ctx, args[0], args[1])
			return a.doneIf(changed, err, "groups paused")
		}),
	}
}

func (a *app) eventsResume() *cobra.Command {
	return &cobra.Command{
		Use:   "resume BUS GROUP",
		Short: "End the pause of a group",
		Args:  cobra.ExactArgs(2),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			changed, err := in.Events().Resume(ctx, args[0], args[1])
			return a.doneIf(changed, err, "groups resumed")
		}),
	}
}

func (a *app) eventsDropGroup() *cobra.Command {
	return &cobra.Command{
		Use:   "drop-group BUS GROUP",
		Short: "Delete a group that no process runs, with its events and dead letters",
		Args:  cobra.ExactArgs(2),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			err := in.Events().DropGroup(ctx, args[0], args[1])
			return a.doneIf(true, err, "groups deleted")
		}),
	}
}

// doneIf reports a repair of one thing.
func (a *app) doneIf(changed bool, err error, what string) error {
	if err != nil {
		return err
	}
	if changed {
		return a.done(1, what)
	}
	return a.done(0, what)
}
