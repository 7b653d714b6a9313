package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// The scripts beside Go models of what they are meant to do, on random sequences of calls, with a clock that the test moves: after each call
// the answers and every key with its expiry are compared. What a script publishes goes into a list in place of a channel.

const (
	noLink  = "................"
	aSecond = 1_000_000 // µs
)

// row is a stored record. What the server packs into a string are fields here.
type row struct {
	format, state, kind     byte
	version                 string
	created                 int64 // µs
	touched, deadline, idle int64 // ms
	link, hash, body        string
	short                   bool // somebody cut it off
	expires                 int64
}

func (r *row) text() string {
	s := fmt.Sprintf("%c%c%c%s%016d%013d%013d%013d%s%s%s", r.format, r.state, r.kind, r.version, r.created, r.touched, r.deadline, r.idle, r.link, r.hash, r.body)
	if r.short {
		return s[:50]
	}
	return s
}

func (r *row) is(state byte) bool { return r != nil && !r.short && r.format == '2' && r.state == state }

func (r *row) member(id string) string { return fmt.Sprintf("%016d%c%s", r.created, r.kind, id) }

// end is when the record ends if it is used now: idle time and touch throttle, at most the deadline.
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

// slotModel is all that is stored of one user.
type slotModel struct {
	rows         map[string]*row
	index        map[string]int64 // score by member
	indexExpires int64
	flags        map[string]int64 // expiry of the mark, and of each replaced token in grace
	told         []string
	micros, late int64
	over         map[string]bool // sessions that must not come back
	marked       map[string]bool // those of which a mark stays for late requests
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

// members are in the index's order.
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
	m.told = append(m.told, id)
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

// live reports whether a session or a token lives.
func (r *row) live() bool { return r.is('L') || r.is('R') }

// sessions are a user's, oldest first, but the one spared.
func (m *slotModel) sessions(spare string) (all []string) {
	for member, at := range m.index {
		if member[16] == 'u' && member[17:] != spare && at >= m.now() {
			all = append(all, member)
		}
	}
	slices.Sort(all)
	return all
}

func (m *slotModel) displace(most int, id string) (n int) {
	if most == 0 {
		return 0
	}
	all := m.sessions(id)
	for ; len(all) >= most; all = all[1:] {
		m.both(all[0][17:])
		delete(m.index, all[0])
		n++
	}
	return n
}

// expect is how the writing scripts begin: no, unless the record lives in the version that the caller knows.
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

// create makes sessions with relative deadlines, in place of an old one.
func (m *slotModel) create(most int, refuse bool, old, expected string, mark int64, ids []string, drafts []row) string {
	if old != "" {
		switch r := m.rows[old]; {
		case !r.live():
			return "G"
		case r.version != expected:
			return "C" + r.text()
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
	return fmt.Sprintf("D%016d%d", m.micros, m.displace(most, ids[0]))
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
		if r == nil { // what would bring it back?
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

// rotation is what a recall asks for.
type rotation struct {
	most                int
	refuse, previous    bool
	grace, use          int64
	version, hash, body string
}

// recall begins a session, with a relative deadline, for a remember-me token, which gets another secret.
func (m *slotModel) recall(token, expected string, w rotation, id string, draft row) string {
	r := m.rows[token]
	if !r.live() || r.kind != 'r' || r.end(m.now()) <= m.now() {
		return "G"
	}
	if r.version != expected {
		return "C" + r.text()
	}
	linked := m.rows[r.link]
	if linked != nil && (linked.short || linked.format != '2') {
		linked = nil
	}
	if w.previous && linked.is('L') && linked.kind == 'u' {
		if m.now()-r.touched < w.grace {
			return "S" + r.link + linked.text()
		}
		if linked.touched-linked.created/1000 > w.use {
			m.both(token)
			return "R"
		}
	}
	if w.most > 0 && w.refuse && len(m.sessions(r.link)) >= w.most {
		return "F"
	}
	draft.link = token
	m.begin(id, draft)
	next := *r
	next.state, next.version, next.touched, next.link, next.hash, next.body = 'R', w.version, m.now(), id, w.hash, w.body
	m.store(token, next, r.end(m.now()))
	if linked != nil {
		m.finish(r.link)
	}
	return fmt.Sprintf("D%016d%d", m.micros, m.displace(w.most, id))
}

// keys is what the server should hold, sorted.
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

// lookLua ends what the clock has ended, and returns what is left of the keys.
//
// KEYS  …
// ARGV  now in ms
const lookLua = `
local all = {}
for _, k in ipairs(KEYS) do
  local at, v = redis.call('PEXPIRETIME', k), nil
  if at >= 0 and at < tonumber(ARGV[1]) then redis.call('DEL', k) end
  local sort = redis.call('TYPE', k).ok
  if sort == 'string' then v = redis.call('GET', k) end
  if sort == 'zset' then v = table.concat(redis.call('ZRANGE', k, 0, -1, 'WITHSCORES'), ',') end
  if v then all[#all + 1] = string.sub(k, #KEYS[1] + 1) .. ' ' .. v .. ' ' .. string.format('%.0f', at) end
end
return table.concat(all, '\n')`

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Fatalf(format string, args ...any)
}

// scripted runs the scripts on a real server.
type scripted struct {
	conn    *rig.Conn
	scripts map[string]string
	index   string
	clock   string
}

func newScripted(conn *rig.Conn, index string) *scripted {
	s := &scripted{conn: conn, index: index, clock: index + ":clock"}
	s.scripts = session.Sources(s.clock)
	return s
}

func (s *scripted) do(t fataler, args ...string) string {
	reply := s.conn.CLI(args...)
	if strings.HasPrefix(reply, "(error)") {
		t.Fatalf("%q: %s", args, reply)
	}
	return reply
}

func (s *scripted) set(t fataler, micros, late int64) {
	s.do(t, "HSET", s.clock, "s", strconv.FormatInt(micros/aSecond, 10), "us", strconv.FormatInt(micros%aSecond, 10), "late", strconv.FormatInt(late, 10))
}

func (s *scripted) eval(t fataler, script string, keys []string, args ...string) string {
	return s.do(t, append(append([]string{"EVAL", s.scripts[script], strconv.Itoa(len(keys))}, keys...), args...)...)
}

func (s *scripted) look(t fataler, now int64, keys ...string) string {
	return s.do(t, append(append([]string{"EVAL", lookLua, strconv.Itoa(len(keys))}, keys...), strconv.FormatInt(now, 10))...)
}

func (s *scripted) key(id string) string { return s.index + ":s:" + id }

func (s *scripted) told(t fataler) string {
	told := strings.ReplaceAll(s.do(t, "LRANGE", s.index+":gone", "0", "-1"), "\n", "")
	s.do(t, "DEL", s.index+":gone")
	return told
}

func TestS1_ScriptsEqualTheirModels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, slotScripts(rig.Shared(t).Conn(t), rig.Prefix(t)))
}

func FuzzS1_ScriptsEqualTheirModels(f *testing.F) {
	for seed := range uint64(4) {
		b, rng := make([]byte, 8<<10), rand.New(rand.NewPCG(seed, 0))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rapid.MakeFuzz(slotScripts(rig.Shared(t).Conn(t), rig.Prefix(t)))(t, b)
	})
}

// slotScripts is random calls of the scripts that work on one user's slot.
func slotScripts(conn *rig.Conn, namespace string) func(*rapid.T) {
	var round atomic.Int64
	return func(t *rapid.T) {
		s := newScripted(conn, fmt.Sprintf("%s:%d:{ada}", namespace, round.Add(1)))
		m := &slotModel{rows: map[string]*row{}, index: map[string]int64{}, flags: map[string]int64{}, over: map[string]bool{}, marked: map[string]bool{}, micros: 4_000_000_000_000_000}
		s.set(t, m.micros, 0)
		ids := []string{strings.Repeat("0", 16)} // an id that nobody has
		keys := func() []string {
			all := []string{s.index, s.index + ":mark"}
			for _, id := range ids {
				all = append(all, s.key(id), s.index+":g:"+id)
			}
			return all
		}
		defer func() { s.do(t, append([]string{"DEL", s.clock, s.index + ":gone"}, keys()...)...) }()

		fresh := func() string {
			ids = append(ids, fmt.Sprintf("%016d", len(ids)))
			return ids[len(ids)-1]
		}
		some := func(t *rapid.T) string { return rapid.SampledFrom(ids[max(0, len(ids)-6):]).Draw(t, "id") }
		version := func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"version1", "version2", "version3"}).Draw(t, "version")
		}
		// known is mostly the version that is there.
		known := func(t *rapid.T, id string) string {
			if r := m.rows[id]; r != nil && rapid.IntRange(0, 3).Draw(t, "knows") > 0 {
				return r.version
			}
			return version(t)
		}
		hash := func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "hash"), 32)
		}
		body := rapid.StringMatching(`[a-z]{0,5}`)
		draft := func(t *rapid.T, kind byte) row {
			r := row{format: '2', state: 'L', kind: kind, version: version(t), link: noLink, hash: hash(t), body: body.Draw(t, "body")}
			r.idle = rapid.SampledFrom([]int64{0, 1000, 20_000, 900_000}).Draw(t, "idle")
			lives := []int64{0, 700, 5000, 100_000}
			if r.idle == 0 {
				lives = lives[1:]
			}
			r.deadline = rapid.SampledFrom(lives).Draw(t, "lifetime")
			return r
		}
		flag := func(set bool) string {
			if set {
				return "1"
			}
			return "0"
		}
		latest := func(m *slotModel, r row) string {
			if r.deadline == 0 {
				return "0"
			}
			return strconv.FormatInt(m.now()+r.deadline+60_000, 10)
		}
		ms13 := func(n int64) string { return fmt.Sprintf("%013d", n) }
		compare := func(t *rapid.T, script, got, want string) {
			if got != want {
				t.Fatalf("%s: %q, want %q", script, got, want)
			}
		}

		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				m.expire()
				for id, r := range m.rows {
					if m.over[id] && !m.marked[id] || m.marked[id] && (r.state != 'T' && !r.short && r.format == '2') {
						t.Fatalf("%s was ended and is back", id)
					}
					if !m.marked[id] && r.kind != 'a' && m.index[r.member(id)] != r.expires {
						t.Fatalf("%s lives until %d, but is in the index until %d", id, r.expires, m.index[r.member(id)])
					}
				}
				got := strings.Split(s.look(t, m.now(), keys()...), "\n")
				slices.Sort(got)
				compare(t, "keys", strings.Join(got, "\n"), strings.Join(m.keys(), "\n"))
				compare(t, "told", s.told(t), strings.Join(m.told, ""))
				m.told = nil
			},
			"time": func(t *rapid.T) {
				m.micros += rapid.SampledFrom([]int64{1, 999, 1000, 100_000, 700_000, 1_100_000, 1_101_000, 5 * aSecond, 22 * aSecond, 100 * aSecond, -300_000}).Draw(t, "step")
				m.late = rapid.SampledFrom([]int64{0, 0, 7}).Draw(t, "late")
				s.set(t, m.micros, m.late)
			},
			"foreign": func(t *rapid.T) {
				id := some(t)
				r := m.rows[id]
				if r == nil || m.marked[id] {
					return
				}
				switch rapid.IntRange(0, 2).Draw(t, "how") {
				case 0:
					r.format = '1'
				case 1:
					r.state = 'X'
				case 2:
					r.short = true
				}
				s.do(t, "SET", s.key(id), r.text(), "KEEPTTL")
			},
			"create": func(t *rapid.T) {
				old, expected, most := "", "", rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "most")
				if rapid.Bool().Draw(t, "replaces") {
					old = some(t)
					expected = known(t, old)
				}
				id := fresh()
				kind := rapid.SampledFrom([]byte("uuua")).Draw(t, "kind")
				news, drafts := []string{id}, []row{draft(t, kind)}
				if kind == 'u' && rapid.Bool().Draw(t, "remember") {
					token := draft(t, 'r')
					token.link, drafts[0].link = id, fresh()
					news, drafts = append(news, drafts[0].link), append(drafts, token)
				}
				refuse, mark := rapid.Bool().Draw(t, "refuses"), rapid.SampledFrom([]int64{500, 60_000}).Draw(t, "mark")
				args, first := []string{"RPUSH", strconv.Itoa(most), flag(refuse), old, expected, strconv.FormatInt(mark, 10)}, s.key(id)
				if old != "" {
					first = s.key(old)
				}
				for i, r := range drafts {
					args = append(args, news[i], string(r.kind), r.version, ms13(r.idle), ms13(r.deadline), latest(m, r), r.link, r.hash, r.body)
				}
				want := m.create(most, refuse, old, expected, mark, news, drafts)
				compare(t, "create", s.eval(t, "create", []string{s.index, first}, args...), want)
			},
			"save": func(t *rapid.T) {
				id := some(t)
				expected, next, b, h, ms, grace := known(t, id), version(t), body.Draw(t, "body"), "", int64(0), ""
				keys := []string{s.index, s.key(id)}
				if rapid.Bool().Draw(t, "renews") {
					h, ms = hash(t), rapid.SampledFrom([]int64{0, 500, 10_000}).Draw(t, "grace")
					if ms > 0 {
						grace = ":g:" + id
						keys = append(keys, s.index+grace)
					}
				}
				want := m.save(id, expected, next, h, b, grace, ms)
				compare(t, "save", s.eval(t, "save", keys, expected, next, h, strconv.FormatInt(ms, 10), b, id), want)
			},
			"touch": func(t *rapid.T) {
				id := some(t)
				want := m.touch(id)
				compare(t, "touch", s.eval(t, "touch", []string{s.index, s.key(id)}, id), want)
			},
			"end": func(t *rapid.T) {
				all := []string{some(t)}
				if rapid.Bool().Draw(t, "more") {
					all = append(all, some(t))
				}
				mark := rapid.SampledFrom([]int64{0, 60_000}).Draw(t, "mark")
				keep := rapid.SampledFrom([]int64{0, 500, 60_000}).Draw(t, "keep")
				want := m.end(mark, keep, all...)
				compare(t, "end", s.eval(t, "end", []string{s.index}, append([]string{"RPUSH", strconv.FormatInt(mark, 10), strconv.FormatInt(keep, 10)}, all...)...), want)
			},
			"end user": func(t *rapid.T) {
				keep, limit := "", rapid.SampledFrom([]int{1, 2, 1000}).Draw(t, "limit")
				if rapid.Bool().Draw(t, "others") {
					keep = some(t)
				}
				mark := rapid.SampledFrom([]int64{0, 60_000}).Draw(t, "mark")
				want := m.endUser(mark, keep, limit)
				compare(t, "end user", s.eval(t, "end user", []string{s.index}, "RPUSH", strconv.FormatInt(mark, 10), keep, strconv.Itoa(limit)), want)
			},
			"move begin": func(t *rapid.T) {
				id := some(t)
				expected, nonce, ms := known(t, id), version(t), rapid.SampledFrom([]int64{600, 30_000}).Draw(t, "for")
				want := m.moveBegin(id, expected, nonce, ms)
				compare(t, "move begin", s.eval(t, "move begin", []string{s.index, s.key(id)}, expected, nonce, strconv.FormatInt(ms, 10), id), want)
			},
			"move undo": func(t *rapid.T) {
				id := some(t)
				nonce, before := known(t, id), version(t)
				want := m.moveUndo(id, nonce, before)
				compare(t, "move undo", s.eval(t, "move undo", []string{s.index, s.key(id)}, nonce, before, id), want)
			},
			"move finish": func(t *rapid.T) {
				id := some(t)
				nonce, mark := known(t, id), rapid.SampledFrom([]int64{500, 60_000}).Draw(t, "mark")
				want := m.moveFinish(id, nonce, mark)
				compare(t, "move finish", s.eval(t, "move finish", []string{s.index, s.key(id)}, "RPUSH", nonce, id, strconv.FormatInt(mark, 10)), want)
			},
			"recall": func(t *rapid.T) {
				tokens := []string{some(t)}
				for id, r := range m.rows {
					if r.kind == 'r' {
						tokens = append(tokens, id, id)
					}
				}
				slices.Sort(tokens)
				token := rapid.SampledFrom(tokens).Draw(t, "token")
				expected := known(t, token)
				w := rotation{most: rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "most"), refuse: rapid.Bool().Draw(t, "refuses"), previous: rapid.Bool().Draw(t, "previous"),
					grace: rapid.SampledFrom([]int64{0, 500, 10_000}).Draw(t, "grace"), use: rapid.SampledFrom([]int64{0, 1000}).Draw(t, "use"),
					version: version(t), hash: hash(t), body: body.Draw(t, "body")}
				r, id := draft(t, 'u'), fresh()
				want := m.recall(token, expected, w, id, r)
				compare(t, "recall", s.eval(t, "recall", []string{s.index, s.key(token)},
					"RPUSH", strconv.Itoa(w.most), flag(w.refuse), token, expected, flag(w.previous), strconv.FormatInt(w.grace, 10), strconv.FormatInt(w.use, 10), w.version, w.hash, w.body,
					id, r.version, ms13(r.idle), ms13(r.deadline), latest(m, r), r.hash, r.body), want)
			},
		})
	}
}

// The session is about to expire when a login buries it; all sessions of its user end in between, and the login fails. With a record that outlives its
// entry in the index, RevokeUser would not find it, and the failed login would bring it back.
func TestS1_ABuriedSessionStaysInTheIndex(t *testing.T) {
	t.Parallel()
	s := newScripted(rig.Shared(t).Conn(t), rig.Prefix(t)+":{ada}")
	id, now := strings.Repeat("1", 16), int64(4_000_000_000_000)
	keys := []string{s.index, s.key(id)}
	at := func(ms int64) {
		s.set(t, (now+ms)*1000, 0)
		s.look(t, now+ms, keys...)
	}
	at(0)
	s.eval(t, "create", keys, "RPUSH", "0", "0", "", "", "1000", id, "u", "version1", "1000", "0", "0", noLink, strings.Repeat("x", 32), "body")
	at(1050)
	if got := s.eval(t, "move begin", keys, "version1", "nonce123", "30000", id); got != "D" {
		t.Fatalf("bury: %s", got)
	}
	at(1150)
	if got := s.eval(t, "end user", keys[:1], "RPUSH", "0", "", "1000"); got != "D01" {
		t.Errorf("end user: %q", got)
	}
	if got := s.eval(t, "move undo", keys, "nonce123", "version1", id); got != "G" {
		t.Errorf("unbury after the end: %s", got)
	}
	s.do(t, "DEL", s.index, s.key(id), s.clock, s.index+":gone")
}

func TestS1_StoreScriptsEqualTheirModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, storeScripts(rig.Shared(t).Conn(t), rig.Prefix(t)))
}

// storeScripts is random calls of the scripts that keep another library's sessions.
func storeScripts(conn *rig.Conn, namespace string) func(*rapid.T) {
	var round atomic.Int64
	return func(t *rapid.T) {
		s := newScripted(conn, fmt.Sprintf("%s:%d:{session}", namespace, round.Add(1)))
		micros, late := int64(4_000_000_000_000_000), int64(0)
		s.set(t, micros, late)
		defer s.do(t, "DEL", s.index, s.clock)
		value, expires := "", int64(0)
		lasts := rapid.SampledFrom([]int64{1, 500, 60_000})
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				want := ""
				if expires < micros/1000 {
					value = ""
				}
				if value != "" {
					want = fmt.Sprintf(" %s %d", value, expires)
				}
				if got := s.look(t, micros/1000, s.index); got != want {
					t.Fatalf("stored: %q, want %q", got, want)
				}
			},
			"time": func(t *rapid.T) {
				micros += rapid.SampledFrom([]int64{1, 1000, 500_000, 61 * aSecond, -1000}).Draw(t, "step")
				late = rapid.SampledFrom([]int64{0, 7}).Draw(t, "late")
				s.set(t, micros, late)
			},
			"commit": func(t *rapid.T) {
				v, ms, want := "2L"+rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "value"), lasts.Draw(t, "ms"), "0"
				if value != "2T" {
					want, value, expires = "1", v, micros/1000+late+ms
				}
				if got := s.eval(t, "commit", []string{s.index}, v, strconv.FormatInt(ms, 10)); got != want {
					t.Fatalf("commit: %q, want %q", got, want)
				}
			},
			"delete": func(t *rapid.T) {
				ms := lasts.Draw(t, "ms")
				value, expires = "2T", micros/1000+late+ms
				if got := s.eval(t, "delete", []string{s.index}, strconv.FormatInt(ms, 10)); got != "1" {
					t.Fatalf("delete: %q", got)
				}
			},
		})
	}
}

// However many end per call, and wherever the two that stay are in the index: while calls say that there is more, all others end.
func TestS1_EndOfAUsersSessionsInBatches(t *testing.T) {
	t.Parallel()
	s := newScripted(rig.Shared(t).Conn(t), rig.Prefix(t))
	s.set(t, aSecond, 0)
	const members = 6
	id := func(i int) string { return strings.Repeat(string(rune('a'+i)), 16) }
	for limit := 1; limit <= members; limit++ {
		for keep := range members {
			for link := range members {
				for i := range members {
					linked := strings.Repeat(".", 16)
					switch {
					case i == keep && keep != link:
						linked = id(link)
					case i == link && keep != link:
						linked = id(keep)
					}
					s.do(t, "SET", s.key(id(i)), "2Lu"+strings.Repeat("0", 63)+linked+strings.Repeat("0", 32))
					s.do(t, "ZADD", s.index, strconv.Itoa(i), strings.Repeat("0", 16)+"u"+id(i))
				}
				for calls := 1; ; calls++ {
					if n := s.eval(t, "end user", []string{s.index}, "RPUSH", "0", id(keep), strconv.Itoa(limit)); n[1] == '0' {
						break
					}
					if calls > members {
						t.Fatalf("%d at a time, %d and %d stay: there is always more", limit, keep, link)
					}
				}
				for i := range members {
					if lives := s.do(t, "EXISTS", s.key(id(i))) == "1"; lives != (i == keep || i == link) {
						t.Errorf("%d at a time, %d and %d stay: %d lives: %v", limit, keep, link, i, lives)
					}
				}
				s.do(t, "DEL", s.index, s.index+":gone")
			}
		}
	}
}
