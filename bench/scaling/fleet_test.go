package scaling_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/bench/scaling"
	"github.com/redstart-go/redstart/internal/rig"
)

const (
	hotKeys = 600 // values that each process keeps in memory
	// tolerance is the largest ratio between the model and a measurement, in both directions.
	tolerance = 1.25
)

// TestFleet compares a small fleet with the model. BenchmarkFleets compares larger ones.
func TestFleet(t *testing.T) {
	rig.Need(t, rig.TierAll)
	f := scaling.Fleet{Processes: 5, Primaries: 3}
	measured, _ := observe(t, f, 5*time.Second)
	compareLoads(t, f, measured, scaling.Measured.Of(f))
}

// fleets are the sizes of BenchmarkFleets. One server is a cluster of one primary.
var fleets = []scaling.Fleet{{Processes: 10, Primaries: 1}, {Processes: 10, Primaries: 3},
	{Processes: 25, Primaries: 3}, {Processes: 50, Primaries: 3}}

// BenchmarkFleets starts up to 50 processes, and compares what they cost with the model. It writes
// its table of docs/scaling.md. It counts idle commands during two of their longest intervals, the
// probes of live subscribers every 10 s.
func BenchmarkFleets(b *testing.B) {
	rig.Need(b, rig.TierAll)
	var table strings.Builder
	table.WriteString("| processes | primaries | | connections of a primary | idle commands/s of a primary |" +
		" pushes per write of a hot key | reads after it | thread per push, µs |\n|---|---|---|---|---|---|---|---|\n")
	for _, f := range fleets {
		measured, pushTime := observe(b, f, 20*time.Second)
		model := scaling.Measured.Of(f)
		row(&table, f, "measured", measured, pushTime)
		row(&table, f, "model", model, scaling.CommandTime)
		compareLoads(b, f, measured, model)
	}
	if !b.Failed() {
		replace(b, "fleets", table.String())
	}
}

// compareLoads fails if the model differs from a measurement.
func compareLoads(tb testing.TB, f scaling.Fleet, measured, model scaling.Load) {
	tb.Helper()
	tb.Logf("%+v: measured %+v, model %+v", f, measured, model)
	for _, v := range []struct {
		what        string
		model, real float64
	}{
		{"connections", model.Connections, measured.Connections}, {"idle commands", model.Idle, measured.Idle},
		{"pushes", model.Pushes, measured.Pushes}, {"reads", model.Reads, measured.Reads},
	} {
		if v.real > tolerance*v.model || v.real < v.model/tolerance {
			tb.Errorf("%d processes, %d primaries: %.1f %s, the model says %.1f", f.Processes, f.Primaries, v.real, v.what, v.model)
		}
	}
}

func row(table *strings.Builder, f scaling.Fleet, source string, l scaling.Load, pushTime float64) {
	fmt.Fprintf(table, "| %d | %d | %s | %.0f | %.0f | %.0f | %.0f | %.0f |\n", f.Processes, f.Primaries, source,
		l.Connections, l.Idle, l.Pushes, l.Reads, pushTime)
}

// observe starts a fleet on servers of its own and measures its load. It counts idle commands for
// the given time.
func observe(t testing.TB, f scaling.Fleet, idle time.Duration) (l scaling.Load, pushTime float64) {
	t.Helper()
	url, servers := serversOf(t, f)
	primaries := float64(f.Primaries)
	env := map[string]string{"TEST_URL": url, "TEST_NAMESPACE": rig.Prefix(t)}
	write(t, env)
	unused := clients(t, servers)
	processes := make([]*rig.Proc, f.Processes)
	for i := range processes {
		processes[i] = rig.Spawn(t, "process", env)
	}
	for _, p := range processes {
		if line := p.Line(time.Minute); line != "ready" {
			t.Fatal(line)
		}
	}
	everywhere(t, processes, "fill", hotKeys)
	distributed(t, processes)

	start, quiet := commands(servers, isIdle), sent(t, servers)
	<-time.After(idle)
	l.Idle = float64(commands(servers, isIdle)-start) / idle.Seconds() / primaries
	quiet = (sent(t, servers) - quiet) / idle.Seconds()
	l.Connections = float64(clients(t, servers)-unused) / primaries // with those that open on first use

	// The replies to idle commands do not count. The second write is the control: no process keeps
	// a value then, so it has no pushes.
	var bytes, thread [2]float64
	for i := range bytes {
		before, busy, began := sent(t, servers), threads(t, servers), time.Now()
		write(t, env)
		everywhere(t, processes, "entries", 0) // each process has got the pushes
		bytes[i] = sent(t, servers) - before - quiet*time.Since(began).Seconds()
		thread[i] = threads(t, servers) - busy
	}
	pushTime = (thread[0] - thread[1]) / float64(hotKeys*f.Processes)
	l.Pushes = (bytes[0] - bytes[1]) / pushBytes(t, servers) / hotKeys

	start = commands(servers, isGet)
	everywhere(t, processes, "fill", hotKeys)
	l.Reads = float64(commands(servers, isGet)-start) / hotKeys
	for _, p := range processes {
		p.Send("end") // all end at the same time
	}
	for _, p := range processes {
		if code := p.Wait(time.Minute); code != 0 {
			t.Fatalf("a process ended with code %d", code)
		}
	}
	return l, pushTime
}

func serversOf(t testing.TB, f scaling.Fleet) (url string, servers []*rig.Server) {
	if f.Primaries == 1 {
		server := rig.Standalone(t)
		return server.URL(), []*rig.Server{server}
	}
	cluster := rig.NewCluster(t, rig.NoReplicas())
	if servers = cluster.Primaries(); len(servers) != f.Primaries {
		t.Fatalf("%d primaries, want %d", len(servers), f.Primaries)
	}
	return cluster.URL(), servers
}

// write stores the hot values from a process that ends then, so that only the fleet has
// connections.
func write(t testing.TB, env map[string]string) {
	t.Helper()
	if code := rig.Spawn(t, "writer", env).Wait(time.Minute); code != 0 {
		t.Fatalf("the writer ended with code %d", code)
	}
}

// sent returns the bytes that the servers have sent.
func sent(t testing.TB, servers []*rig.Server) (n float64) {
	for _, s := range servers {
		n += float64(number(t, s.Info("total_net_output_bytes")))
	}
	return n
}

// threads returns the time that the servers' threads have used, in µs.
func threads(t testing.TB, servers []*rig.Server) (total float64) {
	for _, s := range servers {
		for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
			seconds, err := strconv.ParseFloat(s.Info(field), 64)
			if err != nil {
				t.Fatal(err)
			}
			total += seconds * 1e6
		}
	}
	return total
}

// pushBytes returns the size of the push for one of the values.
func pushBytes(t testing.TB, servers []*rig.Server) float64 {
	t.Helper()
	bytes, keys := 0, 0
	for _, s := range servers {
		reply, err := s.Do("KEYS", "*"+hotKey(1)[:4]+"*")
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range reply.([]any) {
			bytes += len(fmt.Sprintf(">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%s\r\n", len(key.(string)), key))
			keys++
		}
	}
	if keys != hotKeys {
		t.Fatalf("%d keys of values, want %d", keys, hotKeys)
	}
	return float64(bytes) / hotKeys
}

// distributed waits until each process owns its share of the partitions.
func distributed(t testing.TB, processes []*rig.Proc) {
	t.Helper()
	least := partitions / len(processes)
	rig.Eventually(t, time.Minute, "each process owns its share of the partitions", func() bool {
		all := 0
		for _, p := range processes {
			owned := ask(t, p, "owned")
			if owned < least || owned > least+1 {
				return false
			}
			all += owned
		}
		return all == partitions
	})
}

// everywhere sends a command to each process until each has answered with want.
func everywhere(t testing.TB, processes []*rig.Proc, command string, want int) {
	t.Helper()
	for _, p := range processes {
		rig.Eventually(t, time.Minute, fmt.Sprintf("%s is %d", command, want), func() bool { return ask(t, p, command) == want })
	}
}

func ask(t testing.TB, p *rig.Proc, command string) int {
	t.Helper()
	p.Send(command)
	return number(t, p.Line(time.Minute))
}

// clients returns the connections of all servers. Each server counts the one that asks.
func clients(t testing.TB, servers []*rig.Server) (n int) {
	for _, s := range servers {
		n += number(t, s.Info("connected_clients")) - 1
	}
	return n
}

// commands counts the calls of the commands that the servers have run.
func commands(servers []*rig.Server, counts func(name string) bool) (n int64) {
	for _, s := range servers {
		for name, calls := range s.CommandStats() {
			if counts(name) {
				n += calls
			}
		}
	}
	return n
}

// isIdle reports whether a command counts: not the test's INFO, and not EVALSHA, because the
// commands of scripts count.
func isIdle(name string) bool { return name != "info" && name != "evalsha" }

func isGet(name string) bool { return name == "get" }
