package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// defaultListed is how many items a list shows without --limit.
const defaultListed = 1000

// lockCommand returns the verbs for locks.
func (a *app) lockCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "lock", Short: "Locks, elections, semaphores and read-write locks"}
	var id inspect.LockID
	kind := cmd.PersistentFlags().String("kind", string(inspect.Mutex), "mutex, semaphore or read-write; an election is a mutex")
	cmd.PersistentFlags().StringVar(&id.Group, "group", "", "group of the locker (lock.Options.Group)")
	chosen := func(name string) inspect.LockID {
		id.Name, id.Kind = name, inspect.LockKind(*kind)
		return id
	}

	var limit int
	list := &cobra.Command{
		Use:   "list",
		Short: "List the locks that have a holder or a waiter",
		Args:  cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			locks, more, err := everyPage(limit, func(p inspect.Page) (inspect.List[inspect.Lock], error) {
				return in.Locks().List(ctx, p)
			})
			if err != nil {
				return err
			}
			a.moreItems(more, limit)
			return a.print(locks, func() error { return a.table(lockRows(locks)) })
		}),
	}
	list.Flags().IntVar(&limit, "limit", defaultListed, "most locks to list")

	show := &cobra.Command{
		Use:   "show NAME",
		Short: "Show the holder and the queue of a lock",
		Args:  cobra.ExactArgs(1),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			lock, err := in.Locks().Show(ctx, chosen(args[0]))
			if err != nil {
				return err
			}
			return a.print(lock, func() error { return a.showLock(&lock) })
		}),
	}

	var holder string
	breaking := &cobra.Command{
		Use:   "break NAME",
		Short: "End the hold of a process that hangs",
		Long: `End the hold of a process that hangs. The lock is handed to the first waiter.

The holder is not notified. Until its next renewal, at most a third of its TTL later, two processes may believe that
they hold the lock. Its fencing token covers the writes of the first holder. So check first that its process hangs.`,
		Args: cobra.ExactArgs(1),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			ended, err := in.Locks().Break(ctx, chosen(args[0]), holder)
			if err != nil {
				return err
			}
			return a.done(ended, "holds ended")
		}),
	}
	breaking.Flags().StringVar(&holder, "holder", "", "id of the hold (default all holds that the lock has now)")

	cmd.AddCommand(list, show, breaking)
	return cmd
}

func lockRows(locks []inspect.Lock) [][]string {
	rows := [][]string{{"NAME", "KIND", "GROUP", "HELD", "WAITING", "HOLDER", "REMAINING", "LONGEST WAIT", "PROBLEM"}}
	for i := range locks {
		l := &locks[i]
		group, holder, remaining, wait := "-", "-", "-", "-"
		if l.Group != "" {
			group = cell(l.Group)
		}
		if len(l.Holders) > 0 {
			holder, remaining = cell(l.Holders[0].Process), short(l.Holders[0].Remaining)
		}
		if len(l.Waiters) > 0 {
			wait = short(l.Waiters[0].Waited)
		}
		rows = append(rows, []string{cell(l.Name), string(l.Kind), group, strconv.Itoa(l.Held), strconv.Itoa(l.Waiting),
			holder, remaining, wait, printable(l.Problem)})
	}
	return rows
}

func (a *app) showLock(l *inspect.Lock) error {
	if l.Problem != "" {
		return a.fields("lock", cell(l.Name), "kind", string(l.Kind), "problem", printable(l.Problem))
	}
	state := "free"
	if l.Held > 0 {
		state = fmt.Sprintf("held by %d", l.Held)
	}
	err := a.fields("lock", cell(l.Name), "kind", string(l.Kind), "state", state,
		"last token", strconv.FormatInt(l.LastToken, 10), "waiting", strconv.Itoa(l.Waiting))
	if err != nil || l.Held+l.Waiting == 0 {
		return err
	}

	rows := [][]string{{"", "PROCESS", "SINCE OR REMAINING", "TOKEN", "PERMITS", "ID"}}
	for _, h := range l.Holders {
		rows = append(rows, []string{"holder", cell(h.Process), short(h.Remaining) + " remaining",
			strconv.FormatInt(h.Token, 10), strconv.Itoa(h.Permits), cell(h.ID)})
	}
	for _, w := range l.Waiters {
		rows = append(rows, []string{"waiter", cell(w.Process), short(w.Waited) + " waited", "-", strconv.Itoa(w.Permits), cell(w.ID)})
	}
	fmt.Fprintln(a.stdout)
	return a.table(rows)
}
