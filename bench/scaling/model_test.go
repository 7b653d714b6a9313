package scaling_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/bench/scaling"
)

// example has round numbers, so that the loads can be computed by hand.
var example = scaling.Costs{Connections: 2, ConnectionsOnce: 1, IdlePerPrimary: 3, IdleOnce: 10, IdleOfGroup: 40,
	Pushes: 1, Reads: 2}

func TestModel(t *testing.T) {
	got := example.Of(scaling.Fleet{Processes: 100, Primaries: 4})
	want := scaling.Load{Connections: 225, Idle: 560, Pushes: 100, Reads: 200}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if thread := got.Thread(2); math.Abs(thread-0.00112) > 1e-9 {
		t.Errorf("a thread is busy with idle commands for %g of its time, want 0.00112", thread)
	}
	// 40 % of a second are 200,000 commands of 2 µs. 560 are idle ones. A write costs 301.
	if writes := got.HotWrites(0.4, 2); math.Abs(writes-(200_000-560)/301.0) > 1e-6 {
		t.Errorf("%g writes per second, want %g", writes, (200_000-560)/301.0)
	}
}

// More primaries divide what a process does once, and nothing else.
func TestModelWithMorePrimaries(t *testing.T) {
	few, many := example.Of(scaling.Fleet{Processes: 100, Primaries: 2}), example.Of(scaling.Fleet{Processes: 100, Primaries: 20})
	if many.Pushes != few.Pushes || many.Reads != few.Reads {
		t.Errorf("a hot key costs its primary %+v with 20 primaries, and %+v with 2", many, few)
	}
	if least := 100 * example.IdlePerPrimary; many.Idle >= few.Idle || many.Idle < least {
		t.Errorf("%g idle commands with 20 primaries, %g with 2, want fewer, and at least %g", many.Idle, few.Idle, least)
	}
	if none := (scaling.Load{Idle: 1e6}).HotWrites(0.4, 2); none != 0 {
		t.Errorf("%g writes on a primary without time, want 0", none)
	}
}

// TestDocsFleets compares the extrapolation of docs/scaling.md with the model. make docs writes it.
func TestDocsFleets(t *testing.T) {
	var table strings.Builder
	table.WriteString("| processes | primaries | connections of a primary | idle commands/s of a primary | its thread | " +
		"pushes and reads per write of a hot key | writes/s of one hot key at 40 % of the thread |\n|---|---|---|---|---|---|---|\n")
	for _, f := range []scaling.Fleet{{Processes: 50, Primaries: 3}, {Processes: 200, Primaries: 6},
		{Processes: 1000, Primaries: 20}, {Processes: 1000, Primaries: 60}} {
		l := scaling.Measured.Of(f)
		fmt.Fprintf(&table, "| %d | %d | %.0f | %.0f | %.1f %% | %.0f | %.0f |\n", f.Processes, f.Primaries, l.Connections, l.Idle,
			100*l.Thread(scaling.CommandTime), l.Pushes+l.Reads, l.HotWrites(0.4, scaling.CommandTime))
	}
	if want := documented(t, "extrapolation", table.String()); want != nil &&
		strings.Join(want, "\n") != strings.TrimSpace(table.String()) {
		t.Errorf("%s has another extrapolation: run make docs\n%s", document, table.String())
	}
}
