package core_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// usage is what this process has used since it began.
func usage(t *testing.T) (wakeUps int64, processor time.Duration) {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Nvcsw, time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A client at rest rests: its connections are asked once per second, and it wakes this process at most eight times as often as the
// control, which is as many goroutines that wake twice per second and send a PING once per second on a connection of their own.
func TestAnIdleClientIsIdle(t *testing.T) {
	rig.Need(t, rig.TierAll) // not parallel: it counts what the process does
	const clients, rest = 20, 3 * time.Second
	server := rig.Standalone(t)
	measure := func() (commands, wakeUps int64, processor time.Duration) {
		time.Sleep(100 * time.Millisecond) // the goroutines that read have begun
		before := server.CommandStats()
		runtime.GC()
		woken, used := usage(t)
		time.Sleep(rest)
		wokenAfter, usedAfter := usage(t)
		after := server.CommandStats()
		for name, n := range after {
			if name != "info" {
				commands += n - before[name]
			}
		}
		return commands, wokenAfter - woken, usedAfter - used
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
	controlCommands, controlWakeUps, controlProcessor := measure()
	close(stop)
	for range clients {
		<-done
	}

	for range clients {
		c := open(t, server.URL())
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DoTracked(t.Context(), core.Read("GET", "k")); err != nil {
			t.Fatal(err)
		}
	}
	var commands, wakeUps int64
	var processor time.Duration
	rig.Eventually(t, 30*time.Second, "the clients come to rest", func() bool {
		commands, wakeUps, processor = measure()
		t.Logf("%d clients of two connections in %v: %d commands, %d wake-ups, %v; control of one connection: %d, %d, %v",
			clients, rest, commands, wakeUps, processor, controlCommands, controlWakeUps, controlProcessor)
		return commands <= 3*controlCommands && wakeUps <= 8*controlWakeUps
	})
}
