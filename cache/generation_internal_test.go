package cache

import (
	"strconv"
	"testing"
	"time"
)

// However many tags there are, so many records are remembered; the one that goes ends the near entries that go by it.
func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	g := &generations{}
	all := make([]*record, 0, 2*maxRecords)
	read := func(r ref) *record {
		rec := g.reserve(r)
		rec.gen, rec.until = newGeneration(), time.Hour
		return g.settle(r, rec, true)
	}
	clear, epoch := read(clearRef), read(epochRef)
	for i := range 2 * maxRecords {
		all = append(all, read(ref{tagSuffix, strconv.Itoa(i)}))
	}
	if len(g.live) != maxRecords || len(g.reading) != 0 {
		t.Errorf("%d records are remembered and %d being read, want %d and none", len(g.live), len(g.reading), maxRecords)
	}
	for i, rec := range all {
		if known := g.live[ref{tagSuffix, strconv.Itoa(i)}] == rec; known == rec.dead.Load() {
			t.Fatalf("tag %d: remembered: %v, dead: %v", i, known, rec.dead.Load())
		}
	}
	if clear.dead.Load() || epoch.dead.Load() || g.clear.Load() != clear || g.epoch != epoch {
		t.Error("tags have driven out a record that every entry needs")
	}
	if g.dropAll(); len(g.live) != 0 || !clear.dead.Load() || g.clear.Load() != nil {
		t.Error("something outlives a flush")
	}
}
