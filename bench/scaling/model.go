package scaling

// Fleet is a number of equal processes that use a cluster.
type Fleet struct{ Processes, Primaries int }

// Costs are what one process costs the servers: a process with one near cache, one live subscriber
// and one durable subscriber. TestFleet and BenchmarkFleets compare measurements with [Measured].
type Costs struct {
	Connections     float64 // to each primary
	ConnectionsOnce float64 // more, to one primary or another

	// IdlePerPrimary and the fields after it are commands per second while the process is idle.
	IdlePerPrimary float64 // to each primary: keep-alives of its connections
	IdleOnce       float64 // more, to one primary or another: topology, probes, membership of the group
	IdleOfGroup    float64 // of all processes together: the partitions of the durable bus

	Pushes float64 // to a process, for each write of a value that it keeps in memory
	Reads  float64 // of a process, until it has the new value in memory
}

// Load is the work of the servers for a fleet.
type Load struct {
	Connections float64 // of one primary
	Idle        float64 // commands per second of one primary, on average, without any request
	Pushes      float64 // by one primary, for each write of a value that all processes keep
	Reads       float64 // commands of the same primary, until all processes have the new value
}

// Of returns the load of a fleet. Connections and keep-alives grow with processes × primaries. What
// a process does once is distributed over the primaries. A hot key is on one primary, so a further
// primary does not take pushes and reads from it.
func (c Costs) Of(f Fleet) Load {
	processes, primaries := float64(f.Processes), float64(f.Primaries)
	return Load{
		Connections: processes * (c.Connections + c.ConnectionsOnce/primaries),
		Idle:        processes*(c.IdlePerPrimary+c.IdleOnce/primaries) + c.IdleOfGroup/primaries,
		Pushes:      processes * c.Pushes,
		Reads:       processes * c.Reads,
	}
}

// CommandTime is the time of a server's thread, in µs, for a command or a push that does not share
// its system calls with others. BenchmarkFleets measured 7 to 18 µs per push, and package callers
// measured 11 µs per GET of a single caller.
const CommandTime = 12

// Thread returns the part of a primary's thread that idle commands take. A command takes micros
// microseconds.
func (l Load) Thread(micros float64) float64 { return l.Idle * micros / 1e6 }

// HotWrites returns how many writes per second of one value that all processes keep take a share of
// the thread of its primary, idle commands included. A command or a push takes micros microseconds.
func (l Load) HotWrites(share, micros float64) float64 {
	return max(0, share-l.Thread(micros)) * 1e6 / micros / (1 + l.Pushes + l.Reads)
}

// Measured are the costs of this version of Redstart. Connections and idle commands were fitted to
// fleets of 10 and 25 processes. Pushes and reads are 1 by the protocol of the near cache, and the
// measurements confirm it.
var Measured = Costs{
	Connections: 3, ConnectionsOnce: 1,
	IdlePerPrimary: 2.65, IdleOnce: 8.05, IdleOfGroup: 74,
	Pushes: 1, Reads: 1,
}
