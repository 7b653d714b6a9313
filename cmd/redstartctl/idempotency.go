package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

// idempotencyCommand returns the verbs for idempotency keys.
func (a *app) idempotencyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "idempotency",
		Short: "Idempotency keys: what is stored of a request",
		Long: `A record has the name of its executor, a scope and a key. The scope is what idempotency.Options.Scope returned, often
the id of a user. With idempotency.OneScope, it is "".`,
	}
	cmd.AddCommand(a.idempotencyShow(), a.idempotencyForget())
	return cmd
}

func idempotencyID(args []string) inspect.IdempotencyID {
	return inspect.IdempotencyID{Executor: args[0], Scope: args[1], Key: args[2]}
}

func (a *app) idempotencyShow() *cobra.Command {
	var data bool
	cmd := &cobra.Command{
		Use:   "show EXECUTOR SCOPE KEY",
		Short: "Show the state of a key, and the stored response with --data",
		Long: `The response belongs to the client of the request, and may have secrets: request it only if you may see it. At most
1 MiB.`,
		Args: cobra.ExactArgs(3),
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			if !data {
				r, err := in.Idempotency().Show(ctx, idempotencyID(args))
				if err != nil {
					return err
				}
				return a.print(r, func() error { return a.fields(recordFields(&r)...) })
			}
			r, err := in.Idempotency().Result(ctx, idempotencyID(args))
			if err != nil {
				return err
			}
			return a.print(r, func() error {
				header := strings.TrimSpace(strings.ReplaceAll(r.Header, "\r\n", "\n"))
				return a.fields(append(recordFields(&r.IdempotencyRecord), "header", lines(header),
					"body", lines(string(r.Body)))...)
			})
		}),
	}
	cmd.Flags().BoolVar(&data, "data", false, "show the stored response")
	return cmd
}

func recordFields(r *inspect.IdempotencyRecord) []string {
	status, response, end, left := "", "", "free in", ""
	if r.Status != 0 {
		status = strconv.Itoa(r.Status)
		response = fmt.Sprintf("%d bytes of header, %d of body", r.HeaderBytes, r.BodyBytes)
	}
	if r.State == "running" {
		end = "lease left"
	}
	if r.TTLLeft > 0 {
		left = short(r.TTLLeft)
	}
	return []string{"executor", cell(r.Executor), "scope", cell(r.Scope), "key", cell(r.Key), "state", r.State, "status", status,
		"response", response, end, left, "problem", printable(r.Problem)}
}

func (a *app) idempotencyForget() *cobra.Command {
	return &cobra.Command{
		Use:   "forget EXECUTOR SCOPE KEY",
		Short: "Delete the result of a request, so that a repeated request is executed again",
		Long: `Delete the result of a request, so that a repeated request is executed again.

Forget a result only if the effect of the first execution was undone, or never happened. The record of an execution that
holds its lease stays.`,
		Args: cobra.ExactArgs(3),
		RunE: a.repairing(func(ctx context.Context, in *inspect.Inspector, args []string) error {
			if err := in.Idempotency().Forget(ctx, idempotencyID(args)); err != nil {
				return err
			}
			return a.done(1, "results forgotten")
		}),
	}
}
