package events_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// idleWindow is how long an idle process is measured, after the same time without measurement.
const idleWindow = 5 * time.Second

// idler is a process with the embedded engine and a client, and with a subscriber of 16 partitions
// unless it is the control. It prints the processor time that it uses within the window.
func idler() {
	if err := idle(os.Getenv("IDLE") == "subscriber"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func idle(subscribe bool) error {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	if subscribe {
		bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 16})
		if err != nil {
			return err
		}
		sub, err := bus.Subscriber("g", events.SubscriberOptions{})
		if err != nil {
			return err
		}
		if err := notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }); err != nil {
			return err
		}
		running, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- sub.Run(running) }()
		select {
		case <-sub.Ready():
		case err := <-ended:
			return fmt.Errorf("Run ended: %w", err)
		}
	}

	<-time.After(idleWindow)
	before, err := used()
	if err != nil {
		return err
	}
	<-time.After(idleWindow)
	after, err := used()
	fmt.Println(int64(after - before))
	return err
}

// used returns the processor time of this process.
func used() (time.Duration, error) {
	var use syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), err
}

// A subscriber of 16 partitions without events uses at most 3 % of a core more than a process with
// only the embedded engine and a client. Both are measured at the same time.
func TestAnIdleSubscriberIsIdle(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	control, subscriber := rig.Spawn(t, "idler", map[string]string{"IDLE": "control"}),
		rig.Spawn(t, "idler", map[string]string{"IDLE": "subscriber"})
	share := func(p *rig.Proc) float64 {
		t.Helper()
		line := p.Line(time.Minute)
		ns, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return float64(ns) / float64(idleWindow)
	}
	idle, quiet := share(subscriber), share(control)
	t.Logf("an idle subscriber uses %.2f %% of a core, its control %.2f %%", 100*idle, 100*quiet)
	if idle > quiet+0.03 {
		t.Errorf("an idle subscriber uses %.1f %% of a core, its control %.1f %%", 100*idle, 100*quiet)
	}
}
