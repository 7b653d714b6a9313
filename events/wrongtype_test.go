package events_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A key of one partition that another program uses is logged with its name. The subscriber receives
// from the other partitions, and from this one after the key was deleted.
func TestE7_UnusableKeyOfOnePartition(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	for _, kind := range []string{"stream", "lease"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var log logText
			client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t),
				Logger: slog.New(slog.NewTextHandler(&log, nil))})
			must(t, err)
			t.Cleanup(func() { must(t, client.Close()) })
			bus := durable(t, client, events.DurableOptions{Partitions: 2})
			at := channelOfEach(bus, "c", 2)
			key := map[string]string{"stream": bus.StreamOf(at[1]), "lease": bus.LeaseOf("g", at[1])}[kind]
			server.CLI("HSET", key, "field", "of another program")

			sub, got := counting(t, bus, nil)
			run(t, sub) // returns when the subscriber is ready
			must(t, notes.Publish(t.Context(), bus, at[0], note{}))
			got.inOrder(t, at[0], 1)
			rig.Eventually(t, 20*time.Second, "a log line with the key's name", func() bool { return log.has(key) })

			server.CLI("DEL", key)
			rig.Eventually(t, 20*time.Second, "the partition", func() bool { return sub.Stats().Partitions == 2 })
			must(t, notes.Publish(t.Context(), bus, at[1], note{}))
			got.inOrder(t, at[1], 1)
		})
	}
}
