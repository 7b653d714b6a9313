package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// doctorCommand returns the verb doctor.
func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for conditions that weaken guarantees or become outages",
		Long: `Look for conditions that weaken guarantees or become outages. Each finding has its fix.

The exit code is 0 without findings, 1 with findings, and 2 if the servers can't be asked. Notes are no findings.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&a.serviceUser, "user", "",
		"ACL user of the services, whose rights are checked (default the user of this connection)")
	cmd.RunE = a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
		findings, err := in.Doctor(ctx)
		if err != nil {
			return exitError{exitFailed, err}
		}
		if err := a.print(findings, func() error { return a.showFindings(findings) }); err != nil {
			return err
		}
		for _, f := range findings {
			if f.Severity != inspect.SeverityNote {
				return exitError{code: exitFindings}
			}
		}
		return nil
	})
	return cmd
}

func (a *app) showFindings(findings []inspect.Finding) error {
	if len(findings) == 0 {
		fmt.Fprintln(a.stdout, "no findings")
	}
	for _, f := range findings {
		_, err := fmt.Fprintf(a.stdout, "%s: %s (%s): %s\n  fix: %s\n", f.Severity, cell(f.Subject), f.Code,
			printable(f.What), printable(f.Fix))
		if err != nil {
			return err
		}
	}
	return nil
}

// serverCommand returns the verb server.
func (a *app) serverCommand() *cobra.Command {
	return &cobra.Command{Use: "server", Short: "Show the servers, their memory, clocks and latency", Args: cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			s, err := in.Server(ctx)
			if err != nil {
				return err
			}
			return a.print(s, func() error { return a.showServer(&s) })
		})}
}

func (a *app) showServer(s *inspect.Server) error {
	err := a.fields("server", printable(s.Kind+" "+s.Version), "mode", s.Mode, "tracking", fmt.Sprint(s.Tracking),
		"sharded Pub/Sub", fmt.Sprint(s.ShardedPubSub))
	if err != nil {
		return err
	}
	rows := [][]string{{"NODE", "ROLE", "UPTIME", "MEMORY", "POLICY", "AOF", "REPLICAS", "BREAKER", "CLOCK SKEW",
		"P50", "P99", "PROBLEM"}}
	for _, n := range s.Nodes {
		rows = append(rows, []string{cell(n.Addr), dash(printable(n.Role)), short(n.Uptime),
			fmt.Sprintf("%d of %d", n.UsedMemory, n.MaxMemory),
			dash(printable(n.Policy)), persistence(&n), fmt.Sprint(n.Replicas), n.Breaker, n.ClockSkew.String(),
			n.LatencyP50.String(), n.LatencyP99.String(), dash(printable(n.Problem))})
	}
	fmt.Fprintln(a.stdout)
	if err := a.table(rows); err != nil || len(s.Warnings) == 0 {
		return err
	}
	fmt.Fprintln(a.stdout)
	for _, w := range s.Warnings {
		fmt.Fprintf(a.stdout, "warning: %s: %s\n", cell(w.Code), printable(w.Text))
	}
	return nil
}

// persistence returns the state of the append-only file, and whether the last write to disk failed.
func persistence(n *inspect.Node) string {
	text := map[bool]string{true: "on", false: "off"}[n.AppendOnly]
	if n.SavesFailed {
		text += ", saves fail"
	}
	return text
}
