package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

	touched atomic.Int64 // clock, in ns: see touch
}

// generations are the records that this process knows.
type generations struct {
	mu      sync.Mutex
	live    map[ref]*record
	reading map[ref][]*record // asked for; a push meanwhile marks them dead
	clear   atomic.Pointer[record]
	epoch   *record
}

// maxRecords bounds the records in memory. One that is dropped is dead to near entries: they ask again.
const maxRecords = 1 << 16

// How long records are written for. Extending one tells everybody who tracks it, so it is done rarely.
const (
	minTagLife   = time.Hour
	minCacheLife = 7 * 24 * time.Hour
)

func (g *generations) known(r ref, until time.Duration) *record {
	if rec := g.live[r]; rec != nil && rec.until >= until {
		return rec
	}
	return nil
}

// stand returns what every load needs, if it is known and lasts until then.
func (g *generations) stand(until time.Duration) (clear, epoch *record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear, epoch = g.clear.Load(), g.epoch
	if clear == nil || epoch == nil || clear.until < until || epoch.until < until {
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
	switch r {
	case clearRef:
		g.clear.Store(nil)
	case epochRef:
		g.epoch = nil
	}
}

// dropAll forgets everything: pushes may have been lost.
func (g *generations) dropAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for r := range g.live {
		g.dropLocked(r)
	}
	for r := range g.reading {
		g.dropLocked(r)
	}
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
	case old != nil && old.gen == rec.gen: // a concurrent reader was first
		old.until = max(old.until, rec.until)
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
	switch r {
	case clearRef:
		g.clear.Store(rec)
	case epochRef:
		g.epoch = rec
	}
	return rec
}

// capture returns the records of refs, which live on for at least need: from memory, or in one round trip
// per node. A record that died meanwhile is returned too: it stood while this call ran.
func (s *store) capture(ctx context.Context, refs []ref, need time.Duration) ([]*record, error) {
	tracking := s.core.Capabilities().Tracking
	return s.captureFrom(ctx, refs, need, tracking)
}

func (s *store) captureFrom(ctx context.Context, refs []ref, need time.Duration, tracking bool) ([]*record, error) {
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
				if recs[i].due(now, s.touchAfter) {
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
	err := s.askGenerations(ctx, refs, recs, ask, need)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range ask {
		recs[i] = g.settle(refs[i], recs[i], tracking && err == nil)
	}
	return recs, err
}

func (s *store) askGenerations(ctx context.Context, refs []ref, recs []*record, ask []int, need time.Duration) error {
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
	for begin := 0; begin < len(calls); begin += chunk {
		part := calls[begin:min(begin+chunk, len(calls))]
		for j, result := range s.core.EvalMultiTracked(ctx, generationScript, part) {
			msg, err := result.Get()
			if errors.Is(err, fault.ErrFull) {
				// There is no record, and no room for one: no entry is valid under it.
				rec := recs[ask[begin+j]]
				rec.gen = newGeneration()
				rec.dead.Store(true)
				continue
			}
			if err != nil {
				return err
			}
			if err := s.readGeneration(recs[ask[begin+j]], msg.ToArray); err != nil {
				return err
			}
		}
	}
	return nil
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

// stamps are the generations under which a load's value is stored: those that stood when it began.
type stamps struct {
	clear, epoch *record
	tags         []string
	records      []*record // of tags
}

// stamp captures what a load needs, before it begins.
func (s *store) stamp(ctx context.Context, set *settings) (stamps, error) {
	need := s.lifetime(set) + s.opt.LoadTimeout
	if len(set.tags) == 0 && s.core.Capabilities().Tracking {
		if clear, epoch := s.generations.stand(s.core.Clock().Now() + need); epoch != nil {
			return stamps{clear: clear, epoch: epoch}, nil
		}
	}
	refs := append([]ref{clearRef, epochRef}, tagRefs(set.tags)...)
	recs, err := s.capture(ctx, refs, need)
	if err != nil {
		return stamps{}, err
	}
	return stamps{clear: recs[0], epoch: recs[1], tags: set.tags, records: recs[2:]}, nil
}

// late adds tags that the loader named. Their generations did not stand when the load began, so nothing may
// have been invalidated by tag since then: InvalidateTags changes the epoch first and the tags after it, here
// they are read in the opposite order.
//
//	load      epoch E0 ════════════════════ tag T1, epoch E1: E0 ≠ E1, not stored
//	another       InvalidateTags: epoch E1, tag T1
//
// It reports false if the value must not be stored.
func (s *store) late(ctx context.Context, st *stamps, set *settings) (bool, error) {
	if len(set.tags) == len(st.tags) {
		return true, nil
	}
	if s.pendsRef(epochRef) { // an InvalidateTags has failed before it changed the epoch
		return false, nil
	}
	added := set.tags[len(st.tags):]
	recs, err := s.capture(ctx, tagRefs(added), s.lifetime(set))
	if err != nil {
		return false, err
	}
	now, err := s.captureFrom(ctx, []ref{epochRef}, 0, false) // the server's, not ours
	if err != nil {
		return false, err
	}
	st.tags, st.records = set.tags, append(st.records[:len(st.records):len(st.records)], recs...)
	return now[0].gen == st.epoch.gen, nil
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
