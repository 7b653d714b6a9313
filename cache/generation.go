package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// Tags and Clear work by generations: a record on the server holds a random generation, an entry holds the
// ones that stood when its load began, and is valid while they stand. Deleting the record is the
// invalidation: whoever asks next writes another generation (C6).
//
// The server tells us when a record that we have read changes, so that a hit compares with what
// is in memory. Where there is no tracking, records are read with every hit.

// ref names a record.
type ref struct {
	kind string // the suffix of its key
	tag  string
}

const (
	tagSuffix   = "tag"
	clearSuffix = "clear"
	epochSuffix = "epoch"
)

var (
	// clearRef is the generation of the whole cache.
	clearRef = ref{kind: clearSuffix}
	// epochRef changes with every InvalidateTags, before the tags do: see late.
	epochRef = ref{kind: epochSuffix}
)

func tagRefs(tags []string) []ref {
	refs := make([]ref, len(tags))
	for i, tag := range tags {
		refs[i] = ref{tagSuffix, tag}
	}
	return refs
}

// record is one generation as this process has read it. Near entries point to it, so that one store
// to dead ends them all.
type record struct {
	gen   generation
	dead  atomic.Bool
	until time.Duration // clock: the server keeps it until then
	era   atomic.Uint64 // in which the server pushes its changes to us: see generations
	since time.Duration // clock: the end of that era

	touched atomic.Int64 // clock, in ns: see touch
}

// generations are the records that this process knows.
//
// An era ends when pushes may have been lost. Then all records, and near entries, are suspect: each is read again before it is used. While its server can't be reached, a suspect record stands for suspectFor, so that one dead node of a cluster does
// not make the entries of all others unreadable.
type generations struct {
	era     era
	mu      sync.Mutex
	live    map[ref]*record
	reading map[ref][]*record // asked for; a push in the meantime marks them dead
	clear   atomic.Pointer[record]
	offline atomic.Pointer[record] // what entries depend on that were loaded without the server: any invalidation ends it
}

// era counts the losses of pushes. Every near hit reads it, so that it has cache lines of its own.
type era struct {
	_ [64]byte
	atomic.Uint64
	_ [64]byte
}

// suspectFor bounds how long a generation is used whose server can't be reached.
const suspectFor = 30 * time.Second

// maxRecords bounds the records in memory. One that is dropped is dead to near entries: they ask again.
const maxRecords = 1 << 16

// How long records are written for. Extending one tells everybody who tracks it, so it is done rarely.
const (
	minTagLife   = time.Hour
	minCacheLife = 7 * 24 * time.Hour
)

func (g *generations) known(r ref, until time.Duration) *record {
	if rec := g.live[r]; rec != nil && rec.until >= until && g.current(rec) {
		return rec
	}
	return nil
}

// current reports that the server pushes the record's changes to us.
func (g *generations) current(rec *record) bool { return rec.era.Load() == g.era.Load() }

// stand returns what every load needs, if it is known and lasts until then.
func (g *generations) stand(until time.Duration) (clear, epoch *record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear, epoch = g.known(clearRef, until), g.known(epochRef, until)
	if clear == nil || epoch == nil {
		return nil, nil
	}
	return clear, epoch
}

// drop forgets a record that has changed.
func (g *generations) drop(r ref) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dropLocked(r)
}

func (g *generations) dropLocked(r ref) {
	if rec := g.live[r]; rec != nil {
		rec.dead.Store(true)
		delete(g.live, r)
	}
	for _, rec := range g.reading[r] {
		rec.dead.Store(true)
	}
	if r == clearRef {
		g.clear.Store(nil)
	}
	if old := g.offline.Swap(&record{}); old != nil {
		old.dead.Store(true)
	}
}

// suspect begins an era: pushes may have been lost.
func (g *generations) suspect(now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rec := range g.live {
		if g.current(rec) {
			rec.since = now
		}
	}
	for _, all := range g.reading {
		for _, rec := range all {
			rec.dead.Store(true)
		}
	}
	g.era.Add(1)
}

// fallback is the suspect record of a generation whose server can't be reached.
func (g *generations) fallback(r ref, now time.Duration) *record {
	if rec := g.live[r]; rec != nil && !rec.dead.Load() && (g.current(rec) || now-rec.since < suspectFor) {
		return rec
	}
	return nil
}

// reserve registers a record that is about to be read.
func (g *generations) reserve(r ref) *record {
	rec := &record{}
	if g.reading == nil {
		g.reading = make(map[ref][]*record)
		g.live = make(map[ref]*record)
	}
	g.reading[r] = append(g.reading[r], rec)
	return rec
}

// settle ends a reservation and returns the record to use. keep says that it was read, and is to be kept if
// nothing has happened to it meanwhile.
func (g *generations) settle(r ref, rec *record, keep bool) *record {
	all := g.reading[r]
	for i, other := range all {
		if other == rec {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
			break
		}
	}
	if g.reading[r] = all; len(all) == 0 {
		delete(g.reading, r)
	}
	if !keep || rec.dead.Load() {
		rec.dead.Store(true)
		return rec
	}
	old := g.live[r]
	switch {
	case old != nil && old.gen == rec.gen: // a concurrent reader was first, or it was suspect
		old.until = max(old.until, rec.until)
		old.era.Store(g.era.Load())
		return old
	case old != nil:
		old.dead.Store(true)
	case len(g.live) >= maxRecords:
		for victim := range g.live {
			if victim.kind == tagSuffix {
				g.live[victim].dead.Store(true)
				delete(g.live, victim)
				break
			}
		}
	}
	g.live[r] = rec
	rec.era.Store(g.era.Load())
	if r == clearRef {
		g.clear.Store(rec)
	}
	return rec
}

// capture returns the records of refs, which live on for at least need: from memory, or in one round trip
// per node. A record that died in the meantime is returned too: it stood while this call ran.
func (s *store) capture(ctx context.Context, refs []ref, need time.Duration) ([]*record, error) {
	return s.captureAll(ctx, refs, need, s.core.Capabilities().Tracking)
}

func (s *store) captureAll(ctx context.Context, refs []ref, need time.Duration, tracking bool) ([]*record, error) {
	recs, err := s.captureEach(ctx, refs, need, tracking)
	if err != nil && slices.Contains(recs, nil) {
		return nil, err
	}
	return recs, nil
}

// captureEach is capture in which a record that can't be read is nil, and the last error says why. A suspect record stands in for one
// whose server can't be reached.
func (s *store) captureEach(ctx context.Context, refs []ref, need time.Duration, tracking bool) ([]*record, error) {
	recs := make([]*record, len(refs))
	var ask []int
	var due []ref
	g := &s.generations
	g.mu.Lock()
	now := s.core.Clock().Now()
	until := now + need
	for i, r := range refs {
		if tracking {
			if recs[i] = g.known(r, until); recs[i] != nil {
				if recs[i].due(now, s.points.Duration("touch", touchAfter)) {
					due = append(due, r)
				}
				continue
			}
		}
		// The name may be a part of an entry, all of which it would keep.
		r.tag = strings.Clone(r.tag)
		refs[i] = r
		recs[i] = g.reserve(r)
		ask = append(ask, i)
	}
	g.mu.Unlock()
	if due != nil {
		s.touch(due...)
	}
	if ask == nil {
		return recs, nil
	}

	errs := s.askGenerations(ctx, refs, recs, ask, need)
	g.mu.Lock()
	defer g.mu.Unlock()
	var failed error
	for j, i := range ask {
		recs[i] = g.settle(refs[i], recs[i], tracking && errs[j] == nil)
		if errs[j] == nil {
			continue
		}
		failed = errs[j]
		recs[i] = nil
		if tracking && unreachable(errs[j]) {
			recs[i] = g.fallback(refs[i], s.core.Clock().Now())
		}
	}
	return recs, failed
}

// askGenerations reads records, and returns an error for each.
func (s *store) askGenerations(ctx context.Context, refs []ref, recs []*record, ask []int, need time.Duration) []error {
	calls := make([]core.Call, len(ask))
	for j, i := range ask {
		r := refs[i]
		life := max(minTagLife, 2*need)
		if r.kind != tagSuffix {
			life = max(minCacheLife, 2*need)
		}
		gen := newGeneration()
		calls[j] = core.Call{Keys: []string{s.space.Sibling(r.tag, r.kind)}, Args: []string{string(gen[:]), millis(need), millis(life)}}
	}
	errs := make([]error, len(ask))
	for begin := 0; begin < len(calls); begin += chunk {
		part := calls[begin:min(begin+chunk, len(calls))]
		for j, result := range s.core.EvalMultiTracked(ctx, generationScript, part) {
			rec := recs[ask[begin+j]]
			msg, err := result.Get()
			switch {
			case errors.Is(err, fault.ErrFull):
				// There is no record, and no room for one: no entry is valid under it.
				rec.gen = newGeneration()
				rec.dead.Store(true)
				err = nil
			case err == nil:
				err = s.readGeneration(rec, msg.ToArray)
			}
			errs[begin+j] = err
		}
	}
	return errs
}

func newGeneration() (gen generation) {
	for i, n := 0, rand.Uint64(); i < len(gen); i++ {
		gen[i] = byte(n >> (8 * i))
	}
	return gen
}

func badGeneration(what string) error {
	return fault.New(fault.ErrCorrupt, fmt.Errorf("a generation that is %s", what), "delete the cache's keys on the server")
}

// readGeneration takes an answer of generation.lua.
func (s *store) readGeneration(rec *record, answer func() ([]core.Reply, error)) error {
	parts, err := answer()
	if err != nil || len(parts) != 3 {
		return badGeneration("no triple")
	}
	gen, err := parts[0].ToString()
	if err != nil || len(gen) != len(rec.gen) {
		return badGeneration("not 8 bytes long")
	}
	left, err1 := parts[1].AsInt64()
	now, err2 := parts[2].AsInt64()
	if err1 != nil || err2 != nil {
		return badGeneration("without a time")
	}
	copy(rec.gen[:], gen)
	known := s.core.Clock().Now()
	rec.until = known + time.Duration(left)*time.Millisecond
	rec.touched.Store(int64(known))
	s.serverSaid(now)
	return nil
}
