package events_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// An event that arrives between the last read and the command that arms the push, or right after
// that command, is handled at once. Without the second look it would wait for a quarter of the
// lease, which exceeds the limit of this test.
func TestNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"arming", "armed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Lease: 5 * time.Minute})
			sub, got := counting(t, bus, nil)
			var n atomic.Int64
			rig.Arm(t, bus.Points(), point, func(string) error {
				if i := int(n.Load()); i < 50 {
					n.Add(1)
					return notes.Publish(t.Context(), bus, "a", note{N: i})
				}
				return nil
			})
			run(t, sub)
			got.inOrder(t, "a", 50)
		})
	}
}

// A process whose lease request lost its reply takes the lease with a second request. The partition
// does not wait for the end of the lease.
func TestALostGrantIsTakenUp(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 3, Lease: 5 * time.Minute})
	sub, got := counting(t, bus, nil)
	var lost atomic.Int64
	rig.Arm(t, bus.Points(), "granted", func(string) error {
		if lost.Add(1) <= 4 {
			return errors.New("the answer was lost")
		}
		return nil
	})
	run(t, sub)
	rig.Eventually(t, 10*time.Second, "three partitions", func() bool { return sub.Stats().Partitions == 3 })
	for _, channel := range []string{"a", "b", "c", "d"} {
		must(t, notes.Publish(t.Context(), bus, channel, note{}))
		got.inOrder(t, channel, 1)
	}
}
