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
	if clear.dead.Load() || epoch.dead.Load() || g.clear.Load() != clear || g.known(epochRef, 0) != epoch {
		t.Error("tags have driven out a record that every entry needs")
	}
	if g.suspect(time.Second); g.known(clearRef, 0) != nil || g.fallback(clearRef, 2*time.Second) != clear || g.fallback(clearRef, time.Second+suspectFor) != nil {
		t.Error("a loss of pushes leaves what is suspect, and not for longer than suspectFor")
	}
}

// A record that changes while it is read is used by who asked, and by nobody after him. So is one that another reader found changed.
func TestRecordsThatChangeMeanwhile(t *testing.T) {
	t.Parallel()
	for _, r := range []ref{{tagSuffix, "tag"}, clearRef, epochRef} {
		for name, drop := range map[string]func(g *generations){"a push": func(g *generations) { g.drop(r) }, "a flush": func(g *generations) { g.suspect(0) }} {
			g := &generations{}
			rec := g.reserve(r)
			rec.gen, rec.until = newGeneration(), time.Hour
			drop(g)
			if got := g.settle(r, rec, true); got.gen != rec.gen || !got.dead.Load() {
				t.Errorf("%s, %s: who asked got another one, or one that looks alive", r.kind, name)
			}
			if g.known(r, 0) != nil || g.live[r] != nil {
				t.Errorf("%s, %s: it is remembered", r.kind, name)
			}
			if len(g.reading) != 0 {
				t.Errorf("%s, %s: its reading is remembered", r.kind, name)
			}
		}
		g := &generations{}
		first, second := g.reserve(r), g.reserve(r)
		first.gen, first.until = newGeneration(), time.Hour
		second.gen, second.until = newGeneration(), time.Hour
		g.settle(r, first, true)
		if g.settle(r, second, true); g.known(r, 0) != second || !first.dead.Load() || second.dead.Load() {
			t.Errorf("%s: of two readers the first one's record lives on", r.kind)
		}
		if failed := g.reserve(r); !g.settle(r, failed, false).dead.Load() || g.known(r, 0) != second {
			t.Errorf("%s: a reading that failed counts", r.kind)
		}
	}
}
