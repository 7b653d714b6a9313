package events_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// These types model the state of one partition and the effects of the scripts. model_server_test.go
// compares both.

// stored is an entry of a stream.
type stored struct {
	id     position
	fields []string
}

// position is a stream id.
type position struct{ ms, seq int64 }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.ms, p.seq) }

func (p position) compare(o position) int {
	if p.ms != o.ms {
		return int(p.ms - o.ms)
	}
	return int(p.seq - o.seq)
}

func positionOf(s string) (p position) {
	ms, seq, _ := strings.Cut(s, "-")
	p.ms, _ = strconv.ParseInt(ms, 10, 64)
	p.seq, _ = strconv.ParseInt(seq, 10, 64)
	return p
}

// stream is a stream on the server. It also remembers deleted entries: their number and the last
// id.
type stream struct {
	there   bool
	entries []stored
	last    position
	added   int64
}

func (s *stream) add(ms int64, fields ...string) position {
	id := position{ms, 0}
	if s.last.ms == ms {
		id.seq = s.last.seq + 1
	}
	s.there, s.last = true, id
	s.entries = append(s.entries, stored{id, fields})
	s.added++
	return id
}

func (s *stream) find(id string) (stored, bool) {
	for _, e := range s.entries {
		if e.id.String() == id {
			return e, true
		}
	}
	return stored{}, false
}

// after returns the entries after an id.
func (s *stream) after(id position) []stored {
	i := slices.IndexFunc(s.entries, func(e stored) bool { return e.id.compare(id) > 0 })
	if i < 0 {
		return nil
	}
	return s.entries[i:]
}

// cut removes the entries before an id, and returns their number.
func (s *stream) cut(before position) (n int) {
	for len(s.entries) > 0 && s.entries[0].id.compare(before) < 0 {
		s.entries = s.entries[1:]
		n++
	}
	return n
}

type pending struct {
	id    position
	count int
}

// side is the state of one group.
type side struct {
	name         string
	there        bool // the stream has the group
	registered   bool
	last         position
	pending      []pending
	token        string
	topics       string
	lastRead     string
	cut          int
	heads        map[string]int64
	fence, poll  int64 // -1: no such field
	read         int64
	retry        map[string]int64
	tries        map[string]string
	parked       map[string][]string
	dead         stream
	inbox        map[string]bool
	startedAgain bool // it was lost: parked events may come again
}

func newSide(name string) *side {
	return &side{name: name, fence: -1, poll: -1, read: -1, retry: map[string]int64{}, tries: map[string]string{},
		parked: map[string][]string{}, heads: map[string]int64{}, inbox: map[string]bool{}}
}

// model is a partition.
type model struct {
	stream
	now     int64 // µs
	sides   []*side
	delayed map[string]int64
	later   map[string]string
	marks   map[string]string
	cuts    map[string]int64
}

func newModel() *model {
	return &model{now: 1_760_000_000_000_000, sides: []*side{newSide("g"), newSide("h")},
		delayed: map[string]int64{}, later: map[string]string{}, marks: map[string]string{}, cuts: map[string]int64{}}
}

func (m *model) ms() int64 { return m.now / 1000 }

const takenMS = 1_000_000_000_000_000

// publish adds an event. id is its id within its channel; mark is the key that remembers the id.
func (m *model) publish(channel, body, id, mark, digest string, delay, due int64) string {
	switch seen, marked := m.marks[mark]; {
	case digest == "" || !marked:
	case seen == digest:
		return "duplicate"
	default:
		return "conflict"
	}
	behind := false // due events that were not moved yet
	for _, at := range m.delayed {
		behind = behind || (due > 0 || delay > 0) && at <= m.ms()
	}
	if due == 0 {
		due = m.ms() + delay
	}
	reply := "delayed"
	if due > m.ms() || behind {
		last := int64(0)
		for member, at := range m.delayed {
			if n, _ := strconv.ParseInt(member[:12], 10, 64); at == due {
				last = max(last, n)
			}
		}
		number := fmt.Sprintf("%012d", last+1)
		if _, there := m.later[id]; there {
			id = fmt.Sprint(id, " ", due, " ", number)
		}
		m.later[id] = number + " " + body
		m.delayed[number+" "+id] = due
	} else {
		reply = m.add(m.ms(), "c", channel, "e1", body).String()
	}
	if digest != "" {
		m.marks[mark] = digest
	}
	return reply
}

// appear moves due events into the stream.
func (m *model) appear(budget int) (n int) {
	moved := 0
	for _, member := range due(m.delayed, 0, m.ms(), 64) {
		if moved > 0 && moved >= budget {
			break
		}
		id := member[13:]
		size, rest, _ := strings.Cut(id, ":")
		length, _ := strconv.Atoi(size)
		body := m.later[id][13:]
		m.add(m.ms(), "c", rest[:length], "e1", body)
		delete(m.delayed, member)
		delete(m.later, id)
		moved += len(body)
		n++
	}
	return n
}

func (m *model) cancel(id, mark string) string {
	packed, ok := m.later[id]
	if !ok {
		return "0"
	}
	delete(m.delayed, packed[:12]+" "+id)
	delete(m.later, id)
	delete(m.marks, mark)
	return "1"
}

// cutParked cuts parked events. hands has the number of held events of each channel of the caller.
func (m *model) cutParked(g *side, token string, retention, most int64, hands map[string]int) string {
	oldest, cut, at := m.ms()-retention, 0, 0
	for {
		excess := most > 0 && g.waiting() > int(most)
		all := due(g.heads, 0, 1<<60, len(g.heads))
		if at >= len(all) || !excess && !(retention > 0 && g.heads[all[at]] < oldest) {
			break
		}
		channel, skip := all[at], 0
		if g.token != "" && g.retry[channel] == takenMS {
			if n, ok := hands[channel]; ok && token == g.token {
				skip = n
			} else {
				skip = -1
			}
		}
		list := g.parked[channel]
		if skip < 0 || skip >= len(list) {
			if skip >= 0 && len(list) == 0 {
				delete(g.heads, channel)
			} else {
				at++
			}
			continue
		}
		id, _, _ := strings.Cut(list[skip], " ")
		head := positionOf(id).ms
		switch {
		case skip == 0 && head != g.heads[channel]:
			g.heads[channel] = head
		case excess || retention > 0 && head < oldest:
			g.parked[channel] = slices.Delete(slices.Clone(list), skip, skip+1)
			delete(g.tries, id)
			if cut++; len(list) == 1 {
				delete(g.parked, channel)
				delete(g.heads, channel)
				delete(g.retry, channel)
			}
		default:
			at++
		}
	}
	g.cut += cut
	return fmt.Sprint(cut, "\n0")
}

// create is XGROUP CREATE with MKSTREAM.
func (m *model) create(g *side, start string) bool {
	m.stream.there = true
	if g.there {
		return false
	}
	g.there, g.pending = true, nil
	if g.last = positionOf(start); start == "$" {
		g.last = m.last
	}
	return true
}

func (m *model) register(g *side, start, digest string) string {
	if !strings.HasPrefix(g.topics, digest+" ") {
		g.topics = fmt.Sprint(digest, " ", m.now)
	}
	if g.registered {
		start = "0"
	}
	known := g.registered
	g.registered = true
	if !m.create(g, start) {
		return "0"
	}
	g.fence = max(g.fence, 0)
	g.lastRead = ""
	switch g.read = -1; start {
	case "$":
		g.read, g.lastRead = m.added, m.last.String()
	case "0":
		g.read, g.lastRead = m.added-int64(len(m.entries)), "0-0"
	}
	if known {
		g.startedAgain = true
		return "2"
	}
	return "1"
}

func (m *model) acquire(g *side, token string) string {
	if g.token != "" && g.token != token {
		return ""
	}
	g.token, g.poll = token, 0
	g.fence = max(max(g.fence, 0)+1, m.now)
	g.registered = true
	made := m.create(g, "0")
	if made {
		g.read, g.lastRead, g.startedAgain = -1, "", true
	}
	return fmt.Sprintf("%d\n%d", g.fence, map[bool]int{true: 1}[made])
}

func (m *model) recover(g *side, token, from string, count, window, budget, chunk int) string {
	if g.token == "" || g.token != token {
		return ""
	}
	out, last, gone, fault := lines{}, "", lines{}, ""
	if !g.there {
		fault = noGroup
	}
	size := newSizes(budget, max(budget, 1<<20), chunk)
	seen := 0
	for _, p := range slices.Clone(g.pending) {
		if p.id.compare(positionOf(from)) < 0 {
			continue
		}
		if seen == count || size.fetched > size.most {
			seen = -1
			break
		}
		seen++
		last = p.id.String()
		if e, ok := m.find(last); ok {
			channel, field, body := parts(e)
			size.fetched += len(body)
			if !size.fits(last, body) {
				body = ""
			}
			out.add(last, channel, field, body, p.count-1)
		} else {
			g.ack(last)
			gone.add(last)
		}
	}
	if seen >= 0 && seen < count {
		last = ""
	}
	var channels lines
	if window > 0 && last == "" {
		for _, channel := range due(g.retry, takenMS, 1<<60, len(g.retry)) {
			if len(g.parked[channel]) == 0 {
				delete(g.retry, channel)
			} else {
				channels.handed(g, channel, 0, window, size)
			}
		}
	}
	return join(out, lines{last}, channels, gone, lines{fault}, size.stubs)
}

// sizes are the limits of one reply: bytes of bodies, and bytes that the script reads.
type sizes struct {
	left, most, chunk, fetched int
	stubs                      lines
}

func newSizes(budget, most, chunk int) *sizes { return &sizes{left: budget, most: most, chunk: chunk} }

// fits reports whether a body goes into the reply; else its id and size do.
func (s *sizes) fits(id, body string) bool {
	if len(body) <= s.left {
		s.left -= len(body)
		return true
	}
	s.stubs.add(id, len(body))
	return false
}

// spent reports whether the script has read its limit.
func (s *sizes) spent() bool { return s.fetched > 0 && s.fetched >= s.most }

// head keeps the least time, ms, that the head of a channel's parked list can have.
func (g *side) head(channel, id string) {
	ms := positionOf(id).ms
	if old, ok := g.heads[channel]; !ok || ms < old {
		g.heads[channel] = ms
	}
}

const noGroup = "NOGROUP"

func (g *side) ack(id string) bool {
	before := len(g.pending)
	g.pending = slices.DeleteFunc(g.pending, func(p pending) bool { return p.id.String() == id })
	return len(g.pending) < before
}

// due returns the members of a sorted set between two scores, in order.
func due(set map[string]int64, from, to int64, most int) []string {
	all := slices.SortedFunc(maps.Keys(set), func(a, b string) int {
		if set[a] != set[b] {
			return int(set[a] - set[b])
		}
		return strings.Compare(a, b)
	})
	all = slices.DeleteFunc(all, func(s string) bool { return set[s] < from || set[s] > to })
	return all[:min(most, len(all))]
}

func (m *model) redrive(g *side, ids []string) string {
	found := 0
	for _, id := range ids {
		e, ok := g.dead.find(id)
		if !ok {
			continue
		}
		g.dead.entries = slices.DeleteFunc(g.dead.entries, func(o stored) bool { return o.id == e.id })
		f := e.fields
		delete(g.tries, f[1])
		g.parked[f[3]] = append(g.parked[f[3]], f[1]+" "+f[4]+" "+f[5])
		g.head(f[3], f[1])
		if _, ok := g.retry[f[3]]; !ok {
			g.retry[f[3]] = m.ms()
		}
		found++
	}
	return strconv.Itoa(found)
}

func (m *model) drop(g *side) string {
	was := g.registered || g.there
	delete(m.cuts, g.name)
	inbox := g.inbox
	*g = *newSide(g.name)
	g.inbox = inbox
	return strconv.Itoa(map[bool]int{true: 1}[was])
}

// trim cuts entries. count is the number that the server reports.
func (m *model) trim(retention, most, unclaimed int64) string {
	if !m.there {
		return "0"
	}
	var registered []*side
	for _, g := range m.sides {
		if g.registered {
			registered = append(registered, g)
		}
	}
	switch {
	case len(registered) == 0 && retention == 0 && most == 0:
		retention = unclaimed
	case retention == 0 && most == 0:
		floor := position{1 << 60, 0}
		for _, g := range registered {
			if !g.there {
				return "-1"
			}
			first := position{g.last.ms, g.last.seq + 1}
			if len(g.pending) > 0 {
				first = g.pending[0].id
			}
			if first.compare(floor) < 0 {
				floor = first
			}
		}
		return strconv.Itoa(m.cut(floor))
	}
	before := slices.Clone(m.entries)
	n := 0
	if retention > 0 {
		n += m.cut(position{m.ms() - retention, 0})
	}
	if excess := len(m.entries) - int(most); most > 0 && excess > 0 {
		m.entries = m.entries[excess:]
		n += excess
	}
	for _, g := range registered {
		for _, e := range before[:n] {
			if g.there && e.id.compare(g.last) > 0 {
				m.cuts[g.name]++
			}
		}
	}
	return strconv.Itoa(n)
}

// lines is a reply under construction, one element per line as the test harness prints it.
type lines []string

func (l *lines) add(all ...any) {
	for _, v := range all {
		*l = append(*l, fmt.Sprint(v))
	}
}

func (l *lines) handed(g *side, channel string, skip, want int, size *sizes) {
	list := g.parked[channel]
	var items, attempts []string
	for i := skip; i < min(skip+want, len(list)); i++ {
		if (i-skip)%size.chunk == 0 && size.spent() {
			break
		}
		size.fetched += len(list[i])
		part := strings.SplitN(list[i], " ", 3)
		if !size.fits(part[0], part[2]) {
			part[2] = ""
		}
		items = append(items, strings.Join(part, " "))
		if n, ok := g.tries[part[0]]; ok {
			attempts = append(attempts, n)
		} else {
			attempts = append(attempts, "0")
		}
	}
	l.add(channel)
	l.list(items)
	l.list(attempts)
	l.add(len(list))
}

// list adds a list; one without elements is an empty line.
func (l *lines) list(all []string) { *l = append(*l, strings.Join(all, "\n")) }

func join(parts ...lines) string {
	var all []string
	for _, p := range parts {
		all = append(all, strings.Join(p, "\n"))
	}
	return strings.Join(all, "\n")
}
