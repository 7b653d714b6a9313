package embedded

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// streamID is a time in milliseconds and a number within the millisecond.
type streamID struct{ ms, seq uint64 }

var (
	firstID = streamID{}
	lastID  = streamID{math.MaxUint64, math.MaxUint64}
)

func (a streamID) compare(b streamID) int {
	return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.seq, b.seq))
}
func (a streamID) less(b streamID) bool { return a.compare(b) < 0 }
func (a streamID) String() string {
	return strconv.FormatUint(a.ms, 10) + "-" + strconv.FormatUint(a.seq, 10)
}

func (a streamID) next() streamID {
	if a.seq == math.MaxUint64 {
		return streamID{a.ms + 1, 0}
	}
	return streamID{a.ms, a.seq + 1}
}

func (a streamID) before() streamID {
	if a.seq == 0 {
		return streamID{a.ms - 1, math.MaxUint64}
	}
	return streamID{a.ms, a.seq - 1}
}

const badID = failure("ERR Invalid stream ID specified as stream command argument")

// parseID reads "ms-seq", or "ms" with a default for seq.
func parseID(text string, seq uint64) (id streamID, err any) {
	ms, rest, full := strings.Cut(text, "-")
	var bad error
	if id.ms, bad = strconv.ParseUint(ms, 10, 64); bad != nil {
		return id, badID
	}
	id.seq = seq
	if full {
		if id.seq, bad = strconv.ParseUint(rest, 10, 64); bad != nil {
			return id, badID
		}
	}
	return id, nil
}

// stream has entries in the order of their ids, and groups.
type stream struct {
	entries []streamEntry
	last    streamID
	deleted streamID // the greatest id that was removed
	added   int64
	groups  map[string]*group
}

type streamEntry struct {
	id     streamID
	fields []string
}

func (e streamEntry) reply() any { return []any{e.id.String(), e.fields} }

func (s *stream) find(id streamID) (int, bool) {
	return slices.BinarySearchFunc(s.entries, id, func(e streamEntry, id streamID) int { return e.id.compare(id) })
}

func (s *stream) get(id streamID) (streamEntry, bool) {
	if at, is := s.find(id); is {
		return s.entries[at], true
	}
	return streamEntry{}, false
}

// between returns the entries from one id to another, both included.
func (s *stream) between(from, to streamID) []streamEntry {
	start, _ := s.find(from)
	end, is := s.find(to)
	if is {
		end++
	}
	return s.entries[start:max(start, end)]
}

// drop removes the first n entries.
func (s *stream) drop(n int) int64 {
	if n > 0 {
		if id := s.entries[n-1].id; s.deleted.less(id) {
			s.deleted = id
		}
		clear(s.entries[:n])
		s.entries = s.entries[n:]
	}
	return int64(n)
}

func (s *stream) nextID(now int64) streamID {
	id := streamID{ms: uint64(now / 1000)}
	if !s.last.less(id) {
		id = s.last.next()
	}
	return id
}

// errNoStream is the reply of XGROUP if the key does not exist.
const errNoStream = failure("ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want " +
	"to use the MKSTREAM option to create an empty stream automatically.")

// group is a consumer group. It has the pending entries of all consumers; each entry names its
// consumer.
type group struct {
	last      streamID
	read      int64
	pending   map[streamID]*delivery
	order     []streamID // of pending
	consumers map[string]*consumer
}

type delivery struct {
	consumer *consumer
	at       int64 // milliseconds since 1970
	count    int64
}

type consumer struct {
	name         string
	seen, active int64 // milliseconds since 1970
	pending      int64
}

func newGroup(last streamID, read int64) *group {
	return &group{last: last, read: read, pending: map[streamID]*delivery{}, consumers: map[string]*consumer{}}
}

func (g *group) consumer(name string, nowMS int64) *consumer {
	c := g.consumers[name]
	if c == nil {
		c = &consumer{name: name, active: -1}
		g.consumers[name] = c
	}
	c.seen = nowMS
	return c
}

func (g *group) place(id streamID) (int, bool) {
	return slices.BinarySearchFunc(g.order, id, streamID.compare)
}

// deliver makes an entry pending for a consumer.
func (g *group) deliver(id streamID, to *consumer, nowMS int64) *delivery {
	d := g.pending[id]
	if d == nil {
		d = &delivery{}
		g.pending[id] = d
		at, _ := g.place(id)
		g.order = slices.Insert(g.order, at, id)
	} else {
		d.consumer.pending--
	}
	to.pending++
	d.consumer, d.at = to, nowMS
	return d
}

func (g *group) ack(id streamID) bool {
	d := g.pending[id]
	if d == nil {
		return false
	}
	d.consumer.pending--
	delete(g.pending, id)
	at, _ := g.place(id)
	if at == 0 {
		g.order = g.order[1:]
	} else {
		g.order = slices.Delete(g.order, at, at+1)
	}
	return true
}

func (g *group) sortedConsumers() []*consumer {
	var all []*consumer
	for _, name := range slices.Sorted(maps.Keys(g.consumers)) {
		all = append(all, g.consumers[name])
	}
	return all
}

// pendingFrom returns the pending ids from one id to another, both included.
func (g *group) pendingFrom(from, to streamID) []streamID {
	start, _ := g.place(from)
	end, is := g.place(to)
	if is {
		end++
	}
	return g.order[start:max(start, end)]
}
