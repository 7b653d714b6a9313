// Command redstartctl shows and repairs what Redstart keeps on a server: caches, locks, limits,
// sessions, events and idempotency keys.
//
//	redstartctl doctor
//	redstartctl lock list
//	redstartctl lock break invoice:42 --yes
//
// It connects as the services do: with --url and --namespace, or the REDIS_* variables of
// redstart.Config. docs/redstartctl has a page for each verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The exit codes.
const (
	exitFine     = 0
	exitFindings = 1 // doctor found something, or a call failed with an answer
	exitFailed   = 2 // the command line is wrong, or the server can't be asked
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.close()

	var exit exitError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &exit) && exit.err == nil:
		return exit.code
	}
	fmt.Fprintf(stderr, "redstartctl: %s\n", strings.ReplaceAll(lines(err.Error()), "\n", "\n  "))
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitFailed
}

// exitError ends the command with a code. Its error may be nil: then the output says what is wrong.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return fmt.Sprint(e.err) }
func (e exitError) Unwrap() error { return e.err }
