package cache_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// meter reports the processor time of both sides per call. On a machine with other work it says
// more than the wall time.
type meter struct {
	server    *rig.Server
	own, they float64
}

// begin starts the clock, as the last step before the work.
func begin(b *testing.B) *meter {
	b.Helper()
	m := &meter{server: rig.Shared(b)}
	m.own, m.they = m.clients(b), m.servers(b)
	b.ResetTimer()
	return m
}

func (m *meter) end(b *testing.B) {
	b.Helper()
	b.StopTimer()
	b.ReportMetric((m.clients(b)-m.own)/float64(b.N)*1e6, "client-µs/op")
	b.ReportMetric((m.servers(b)-m.they)/float64(b.N)*1e6, "server-µs/op")
}

func (m *meter) servers(b *testing.B) (total float64) {
	for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(m.server.Info(field), 64)
		if err != nil {
			b.Fatal(err)
		}
		total += seconds
	}
	return total
}

func (m *meter) clients(b *testing.B) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}
