package session_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/session"
)

// The Go model of the stored state of one user. scripts_test.go compares it with the scripts.

const (
	noLink  = "................"
	aSecond = 1_000_000 // µs
)

// row is a stored record, with a field for each part of the string on the server.
type row struct {
	format, state, kind     byte
	version                 string
	created                 int64 // µs
	touched, deadline, idle int64 // ms
	link, hash, body        string
	short                   bool  // another program has truncated it
	latest                  int64 // ms: of a new record with a deadline
	expires                 int64
}

func (r *row) text() string {
	s := fmt.Sprintf("%c%c%c%s%016d%013d%013d%013d%s%s%s", r.format, r.state, r.kind, r.version, r.created,
		r.touched, r.deadline, r.idle, r.link, r.hash, r.body)
	if r.short {
		return s[:50]
	}
	return s
}

func (r *row) is(state byte) bool { return r != nil && !r.short && r.format == '2' && r.state == state }

func (r *row) member(id string) string { return fmt.Sprintf("%016d%c%s", r.created, r.kind, id) }

// end returns the time at which the record ends if it is used now: idle time plus throttle, at most
// the deadline.
func (r *row) end(now int64) int64 {
	switch at := now + r.idle + session.Throttle(r.idle); {
	case r.idle == 0:
		return r.deadline
	case r.deadline == 0:
		return at
	default:
		return min(at, r.deadline)
	}
}

// unfit returns the reply for a record whose latest deadline does not fit the clock of the server,
// or "".
func (m *slotModel) unfit(r row) string {
	at := m.now() + r.deadline
	if r.deadline == 0 || at <= r.latest && r.latest-at <= 120_000 {
		return ""
	}
	return fmt.Sprintf("K%013d", m.now())
}

// slotModel is the stored state of one user.
type slotModel struct {
	rows         map[string]*row
	index        map[string]int64 // score by member
	indexExpires int64
	flags        map[string]int64 // expiry of the mark, and of each replaced token in its grace period
	published    []string
	micros, late int64
	over         map[string]bool // sessions that must not return
	marked       map[string]bool // sessions with a mark for late requests
}

func newSlotModel() *slotModel {
	return &slotModel{rows: map[string]*row{}, index: map[string]int64{}, flags: map[string]int64{},
		over: map[string]bool{}, marked: map[string]bool{}, micros: 4_000_000_000_000_000}
}

func (m *slotModel) now() int64 { return m.micros / 1000 }

func (m *slotModel) expire() {
	for id, r := range m.rows {
		if r.expires < m.now() {
			delete(m.rows, id)
		}
	}
	for name, at := range m.flags {
		if at < m.now() {
			delete(m.flags, name)
		}
	}
	if m.indexExpires < m.now() {
		clear(m.index)
	}
}

// members returns the members in the order of the index.
func (m *slotModel) members() []string {
	all := make([]string, 0, len(m.index))
	for member := range m.index {
		all = append(all, member)
	}
	slices.SortFunc(all, func(a, b string) int {
		if d := m.index[a] - m.index[b]; d != 0 {
			return int(d)
		}
		return strings.Compare(a, b)
	})
	return all
}

func (m *slotModel) store(id string, r row, at int64) {
	r.expires = at
	m.rows[id] = &r
	if r.kind == 'a' {
		return
	}
	m.index[r.member(id)] = at
	for member, score := range m.index {
		if score < m.now() {
			delete(m.index, member)
		}
	}
	m.indexExpires = 0
	for _, score := range m.index {
		m.indexExpires = max(m.indexExpires, score)
	}
}

func (m *slotModel) flag(name string, ms int64) { m.flags[name] = m.now() + m.late + ms }

func (m *slotModel) finish(id string) *row {
	r := m.rows[id]
	if r == nil || r.format == '2' && r.state == 'T' {
		return nil
	}
	delete(m.rows, id)
	delete(m.index, r.member(id))
	m.published = append(m.published, id)
	m.over[id] = true
	return r
}

func (m *slotModel) both(id string) *row {
	r := m.finish(id)
	if r != nil && !r.short && r.format == '2' {
		m.finish(r.link)
	}
	return r
}

// replaced is both, and leaves a mark.
func (m *slotModel) replaced(id string, ms int64) {
	if r := m.both(id); r != nil && !r.short && r.format == '2' {
		mark := *r
		mark.state, mark.body, mark.expires = 'T', "", m.now()+m.late+ms
		m.rows[id] = &mark
		m.marked[id] = true
	}
}

// live reports whether a session or a token is live.
func (r *row) live() bool { return r.is('L') || r.is('R') }

// sessions returns the sessions of a user, oldest first, without one id.
func (m *slotModel) sessions(spare string) (all []string) {
	for member, at := range m.index {
		if member[16] == 'u' && member[17:] != spare && at >= m.now() {
			all = append(all, member)
		}
	}
	slices.Sort(all)
	return all
}

// displace ends the oldest sessions and returns their ids.
func (m *slotModel) displace(most int, id string) (ids string) {
	if most == 0 {
		return ""
	}
	all := m.sessions(id)
	for ; len(all) >= most; all = all[1:] {
		if m.both(all[0][17:]) != nil {
			ids += all[0][17:]
		}
		delete(m.index, all[0])
	}
	return ids
}

// expect returns the record if it is live in the expected version. Otherwise it returns the reply
// of the script.
func (m *slotModel) expect(id, version string) (r *row, no string) {
	r = m.rows[id]
	switch {
	case !r.live():
		return nil, "G"
	case r.version != version:
		return nil, "C" + r.text()
	case r.end(m.now()) <= m.now():
		return nil, "G"
	}
	return r, ""
}

func (m *slotModel) touch(id string) string {
	r := m.rows[id]
	if !r.live() || r.end(m.now()) <= m.now() {
		return "G"
	}
	next := *r
	next.touched = m.now()
	m.store(id, next, r.end(m.now()))
	return "D" + strconv.FormatInt(m.now(), 10)
}

func (m *slotModel) save(id, expected, version, hash, body, grace string, ms int64) string {
	r, no := m.expect(id, expected)
	if r == nil {
		return no
	}
	next := *r
	next.version, next.touched, next.body = version, m.now(), body
	if hash != "" {
		next.hash = hash
	}
	m.store(id, next, r.end(m.now()))
	if grace != "" && ms > 0 {
		m.flag(grace, ms)
	}
	return "D" + strconv.FormatInt(m.now(), 10)
}

// create creates sessions with relative deadlines, in place of an old session.
func (m *slotModel) create(most int, refuse bool, old, expected string, mark int64, ids []string, drafts []row) string {
	if old != "" {
		switch r := m.rows[old]; {
		case !r.live():
			return "G"
		case r.version != expected:
			return "C" + r.text()
		}
	}
	for _, r := range drafts {
		if answer := m.unfit(r); answer != "" {
			return answer
		}
	}
	if most > 0 && refuse && len(m.sessions(old)) >= most {
		return "F"
	}
	for i, r := range drafts {
		m.begin(ids[i], r)
	}
	if old != "" {
		m.replaced(old, mark)
	}
	return fmt.Sprintf("D%016d%s", m.micros, m.displace(most, ids[0]))
}

func (m *slotModel) begin(id string, r row) {
	r.created, r.touched = m.micros, m.now()
	if r.deadline > 0 {
		r.deadline += m.now()
	}
	m.store(id, r, r.end(m.now()))
}

func (m *slotModel) end(mark, keep int64, ids ...string) string {
	n := 0
	for _, id := range ids {
		if r := m.rows[id]; r.live() && keep > 0 {
			m.replaced(id, keep)
			n++
			continue
		}
		r := m.both(id)
		if r == nil { // a remember-me token could restore it
			for _, member := range m.members() {
				token := m.rows[member[17:]]
				if member[16] == 'r' && token != nil && !token.short && token.format == '2' && token.link == id {
					if f := m.finish(member[17:]); f != nil {
						r = f
					}
				}
			}
		}
		if r != nil {
			n++
		}
	}
	if mark > 0 {
		m.flag(":mark", mark)
	}
	return "D" + strconv.Itoa(n)
}

func (m *slotModel) endUser(mark int64, keep string, limit int) string {
	link := ""
	if s := m.rows[keep]; s.is('L') {
		if r := m.rows[s.link]; r != nil && !r.short && r.format == '2' && r.link == keep {
			link = s.link
			if r.state == 'R' {
				next := *r
				next.state = 'L'
				m.rows[link] = &next
			}
		}
	}
	n, rest := 0, 0
	for _, member := range m.members() {
		id := member[17:]
		if id == keep || id == link {
			continue
		}
		if limit == 0 {
			rest = 1
			break
		}
		limit--
		if m.finish(id) != nil && member[16] == 'u' {
			n++
		}
		delete(m.index, member)
	}
	if mark > 0 {
		m.flag(":mark", mark)
	}
	return fmt.Sprintf("D%d%d", rest, n)
}

func (m *slotModel) moveBegin(id, expected, nonce string, ms int64) string {
	r, no := m.expect(id, expected)
	if r == nil {
		return no
	}
	next := *r
	next.state, next.version = 'M', nonce
	m.store(id, next, min(r.end(m.now()), m.now()+ms))
	return "D"
}

func (m *slotModel) moveUndo(id, nonce, version string) string {
	r := m.rows[id]
	if !r.is('M') || r.version != nonce || r.end(m.now()) <= m.now() {
		return "G"
	}
	next := *r
	next.state, next.version = 'L', version
	m.store(id, next, r.end(m.now()))
	return "D"
}

func (m *slotModel) moveFinish(id, nonce string, mark int64) string {
	if r := m.rows[id]; !r.is('M') || r.version != nonce {
		return "G"
	}
	m.replaced(id, mark)
	return "D"
}

// keys returns the keys that the server should have, sorted.
func (m *slotModel) keys() []string {
	var all []string
	for id, r := range m.rows {
		all = append(all, fmt.Sprintf(":s:%s %s %d", id, r.text(), r.expires))
	}
	for name, at := range m.flags {
		all = append(all, fmt.Sprintf("%s 1 %d", name, at))
	}
	if len(m.index) > 0 {
		entries := []string{}
		for _, member := range m.members() {
			entries = append(entries, member, strconv.FormatInt(m.index[member], 10))
		}
		all = append(all, fmt.Sprintf(" %s %d", strings.Join(entries, ","), m.indexExpires))
	}
	slices.Sort(all)
	return all
}
