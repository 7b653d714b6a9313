package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
)

// app is one execution of a command line: its flags, its output, and its connection.
type app struct {
	stdout, stderr io.Writer
	client         *redstart.Client // nil until a verb needs it

	url, namespace, actor       string
	keysFile                    string // of session verbs
	timeout                     time.Duration
	serviceUser                 string // of doctor
	json, readOnly, yes, quoted bool
}

// commands returns the verbs. A file per group of verbs defines them.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.doctorCommand(), a.serverCommand(), a.cacheCommand(), a.lockCommand(), a.limitCommand(), a.sessionCommand(),
		a.eventsCommand(), a.idempotencyCommand(), a.topCommand(), a.consoleCommand(),
	}
}

// root returns the command with all verbs.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "redstartctl",
		Short: "Show and repair what Redstart keeps on a server",
		Long: `redstartctl shows and repairs what Redstart keeps on a server: caches, locks, limits, sessions, events and
idempotency keys.

It connects as the services do. Each field of redstart.Config has its REDIS_* variable; --url and --namespace win.
A password in --url is visible to other users of the machine: set REDIS_URL or REDIS_PASSWORD instead.

Verbs that only show work with the user of deploy/acl/redstart-inspect.acl. Repairs need the user of
deploy/acl/redstart-operate.acl and the flag --yes. Each repair is logged on standard error with its actor.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.CompletionOptions.DisableDefaultCmd = false

	flags := root.PersistentFlags()
	flags.StringVar(&a.url, "url", "", "URL of the server (default REDIS_URL, or redis://localhost:6379/0)")
	flags.StringVar(&a.namespace, "namespace", "", "namespace of the services (default REDIS_NAMESPACE, or app)")
	flags.DurationVar(&a.timeout, "timeout", 0, "time limit of each command (default REDIS_COMMAND_TIMEOUT, or 500ms)")
	flags.BoolVar(&a.json, "json", false, "write JSON for programs instead of text")
	flags.BoolVar(&a.readOnly, "read-only", false, "refuse each repair; verbs that only show are always read-only")
	flags.BoolVar(&a.yes, "yes", false, "confirm a repair")
	flags.StringVar(&a.actor, "actor", "", "name in the log of repairs (default the user and the host of this process)")
	flags.BoolVar(&a.quoted, "quoted", false, `names and keys are quoted as Go strings: "a\x00b"`)
	root.AddCommand(a.commands()...)
	for _, group := range root.Commands() {
		refuseUnknown(group)
	}
	return root
}

// refuseUnknown makes an unknown verb of a group an error. Cobra would write the help and exit with
// 0, so a script would take a misspelled repair for a success.
func refuseUnknown(group *cobra.Command) {
	for _, cmd := range group.Commands() {
		refuseUnknown(cmd)
	}
	if !group.Runnable() {
		group.Args, group.DisableFlagsInUseLine = cobra.NoArgs, true
		group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

// verb is what a command does after it is connected.
type verb func(ctx context.Context, in *inspect.Inspector, args []string) error

// showing returns a command that only reads.
func (a *app) showing(do verb) func(*cobra.Command, []string) error {
	return a.connected(true, do)
}

// repairing returns a command that repairs. It needs --yes.
func (a *app) repairing(do verb) func(*cobra.Command, []string) error {
	connected := a.connected(false, do)
	return func(cmd *cobra.Command, args []string) error {
		if !a.yes && !a.readOnly {
			return exitError{exitFindings, fmt.Errorf("%s changes data: add --yes", cmd.CommandPath()[len("redstartctl "):])}
		}
		return connected(cmd, args)
	}
}

// connected returns a command that connects first. An answer that is an error, such as "not found",
// is another exit code than a server that can't be asked.
func (a *app) connected(readOnly bool, do verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		args, err := a.unquoted(args)
		if err != nil {
			return err
		}
		in, err := a.inspector(cmd.Context(), readOnly || a.readOnly)
		if err != nil {
			return err
		}
		err = do(cmd.Context(), in, args)
		var exit exitError
		if err == nil || errors.As(err, &exit) || !answered(err) {
			return err
		}
		return exitError{exitFindings, err}
	}
}

// answered reports whether an error is an answer about the object, and not a failure to ask.
func answered(err error) bool {
	for _, failed := range []error{redstart.ErrUnavailable, redstart.ErrIndeterminate, redstart.ErrDenied,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, failed) {
			return false
		}
	}
	return true
}

// inspector connects and returns an Inspector.
func (a *app) inspector(ctx context.Context, readOnly bool) (*inspect.Inspector, error) {
	cfg, err := redstart.ConfigFromEnv()
	if err != nil {
		return nil, err
	}
	cfg.URL = cmp.Or(a.url, cfg.URL)
	cfg.Namespace = cmp.Or(a.namespace, cfg.Namespace)
	cfg.CommandTimeout = cmp.Or(a.timeout, cfg.CommandTimeout)
	cfg.Lazy = false
	if a.client, err = redstart.Open(ctx, cfg); err != nil {
		return nil, err
	}
	keys, err := a.sessionKeys()
	if err != nil {
		return nil, err
	}
	return inspect.New(a.client, inspect.Options{Actor: a.actorName(), ReadOnly: readOnly, ServiceUser: a.serviceUser, Logger: a.log(),
		SessionKeys: keys})
}

// actorName returns who repairs, for the log.
func (a *app) actorName() string { return cmp.Or(a.actor, defaultActor()) }

// close ends the connection. The process is about to end, so an error is only reported.
func (a *app) close() {
	if a.client == nil {
		return
	}
	if err := a.client.Close(); err != nil {
		fmt.Fprintf(a.stderr, "redstartctl: %s\n", printable(err.Error()))
	}
}

// defaultActor returns the user and the host of this process.
func defaultActor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name[:min(len(name), 128)]
}

// unquoted returns the arguments without their quotes, with --quoted.
func (a *app) unquoted(args []string) ([]string, error) {
	if !a.quoted {
		return args, nil
	}
	plain := make([]string, len(args))
	for i, arg := range args {
		text, err := strconv.Unquote(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %s is not a quoted Go string: write \"…\", or leave out --quoted", printable(arg))
		}
		plain[i] = text
	}
	return plain, nil
}
