package core_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// usage returns how often a thread of this process has waited and was woken.
func usage(t *testing.T) int64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Nvcsw
}

// An idle client uses almost no processor time. Its connections send a PING once per second, and
// this does not start the clock of calls, which ticks every 5 ms. The control sends a PING once per
// second on a connection for each client.
func TestIdleClientUsesLittleProcessorTime(t *testing.T) {
	rig.Need(t, rig.TierAll) // not parallel, because it counts the wake-ups of the process
	const clients, rest = 20, 3 * time.Second
	server := rig.Standalone(t)
	var all []*core.Core
	measure := func() (commands, wakeUps int64, awake int) {
		before := server.CommandStats()
		runtime.GC()
		woken := usage(t)
		looks := time.NewTicker(20 * time.Millisecond)
		defer looks.Stop()
		for range rest / (20 * time.Millisecond) {
			<-looks.C
			for _, c := range all {
				if core.Awake(c) {
					awake++
				}
			}
		}
		wakeUps = usage(t) - woken
		for name, n := range server.CommandStats() {
			if name != "info" {
				commands += n - before[name]
			}
		}
		return commands, wakeUps, awake
	}

	stop := make(chan struct{})
	done := make(chan struct{}, clients)
	for range clients {
		conn := server.Conn(t)
		go func() {
			defer func() { done <- struct{}{} }()
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if i%2 == 0 {
					conn.CLI("PING")
				}
			}
		}()
	}
	controlCommands, controlWakeUps, _ := measure()
	close(stop)
	for range clients {
		<-done
	}

	for range clients {
		c := open(t, server.URL())
		all = append(all, c)
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DoTracked(t.Context(), core.Read("GET", "k")); err != nil {
			t.Fatal(err)
		}
	}
	rig.Eventually(t, 30*time.Second, "the clients come to rest", func() bool {
		commands, wakeUps, awake := measure()
		t.Logf("%d clients of two connections in %v: %d commands, %d wake-ups, clocks awake in %d samples; "+
			"control of one connection: %d, %d",
			clients, rest, commands, wakeUps, awake, controlCommands, controlWakeUps)
		return commands > 0 && commands <= 3*controlCommands && awake == 0
	})
}
