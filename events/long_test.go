package events_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

// A handler that runs for long is logged with its channel, if neither HandlerTimeout nor Retention
// bounds what the stream keeps.
func TestALongHandlerIsLogged(t *testing.T) {
	t.Parallel()
	const message = "a handler runs for long"
	for name, bounded := range map[string]bool{"unbounded": false, "HandlerTimeout": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logText
			client, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(),
				Namespace: rig.Prefix(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			must(t, err)
			t.Cleanup(func() { must(t, client.Close()) })
			bus := durable(t, client, events.DurableOptions{Partitions: 1, Lease: time.Second})
			t.Cleanup(bus.Points().Arm("long", failpoint.Lasts(300*time.Millisecond)))
			var opts events.SubscriberOptions
			if bounded {
				opts.HandlerTimeout = time.Hour
			}
			sub := subscriber(t, bus, "g", opts)
			release, quick := make(chan struct{}), make(chan int, 1000)
			must(t, notes.Handle(sub, "hung", func(context.Context, events.Event[note]) error { <-release; return nil }))
			must(t, notes.Handle(sub, "quick", func(_ context.Context, e events.Event[note]) error { quick <- e.Data.N; return nil }))
			stop := run(t, sub)
			defer stop()
			defer close(release)
			must(t, notes.Publish(t.Context(), bus, "hung", note{}))

			began := time.Now()
			if !bounded {
				rig.Eventually(t, 20*time.Second, "the log line", func() bool { return log.has(message, "channel=hung") })
				return
			}
			for time.Since(began) < time.Second { // each poll looks
				must(t, notes.Publish(t.Context(), bus, "quick", note{}))
				arrives(t, "a quick event", quick)
			}
			if log.has(message) {
				t.Error("a handler with a HandlerTimeout was logged")
			}
		})
	}
}
