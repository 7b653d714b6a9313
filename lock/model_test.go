package lock_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// The scripts beside Go models of what they are meant to do, on random sequences of calls, with a clock that the test
// moves. What a script publishes goes into a list in place of a channel.

const (
	modelTTL   = 1_000_000 // µs
	modelGrant = 100_000
	modelAlive = 300_000
)

// waiting is a queue as the models see it.
type waiting struct {
	place map[string]int64
	alive map[string]int64
	pulse map[string]int64 // of processes
}

func newWaiting() waiting {
	return waiting{map[string]int64{}, map[string]int64{}, map[string]int64{}}
}

func processOf(id string) string { return strings.Split(id, ".")[1] }

func (q *waiting) leave(id string) bool {
	_, was := q.place[id]
	delete(q.place, id)
	delete(q.alive, id)
	return was
}

// order is the queue from its head.
func (q *waiting) order() []string {
	ids := make([]string, 0, len(q.place))
	for id := range q.place {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if c := q.place[a] - q.place[b]; c != 0 {
			return int(c)
		}
		return strings.Compare(a, b)
	})
	return ids
}

// first drops the dead before the first live one, as the scripts do. A process that lives keeps its waiters alive.
func (q *waiting) first(now int64) string {
	for _, id := range q.order() {
		if q.alive[id] > now || q.pulse[processOf(id)] > now {
			return id
		}
		q.leave(id)
	}
	return ""
}

func (q *waiting) enter(id string, place, now int64) {
	if _, ok := q.place[id]; !ok {
		q.place[id] = place
	}
	q.alive[id] = now + modelAlive
	q.pulse[processOf(id)] = now + modelAlive
}

// firstSingle is the first live one that does not wait for several locks. It drops the dead before it.
func (q *waiting) firstSingle(now int64) string {
	passedOver := map[string]int64{}
	defer func() {
		for id, place := range passedOver {
			q.place[id] = place
		}
	}()
	for {
		head := q.first(now)
		if head == "" || head[0] != 'a' {
			return head
		}
		passedOver[head] = q.place[head]
		delete(q.place, head)
	}
}

// mutexModel is one plain lock. What the server packs into a string are fields here; a lock is passed on
// whenever it is free and somebody live waits and anybody looks.
type mutexModel struct {
	waiting
	known               bool
	token, till, lapsed int64
	queued              bool
	owner               string
	woken               []string
}

func newMutexModel() *mutexModel {
	return &mutexModel{waiting: newWaiting()}
}

func (m *mutexModel) give(id string, now, ttl int64) {
	if m.queued && m.leave(id) {
		m.queued = len(m.place) > 0
	}
	m.token = max(m.token+1, now)
	if !m.known {
		m.lapsed = m.token - 1
	}
	m.known, m.owner, m.till = true, id, now+ttl
}

// free ends a lease that is over.
func (m *mutexModel) free(now int64) bool {
	if m.owner != "" && m.till <= now {
		m.lapsed, m.owner, m.till = m.token, "", 0
	}
	return m.owner == ""
}

// keep keeps the free lock for the All at the head, for as long as that has waited.
func (m *mutexModel) keep(id string, now int64) {
	m.till = now + min(max(now-m.place[id], 100_000), 5_000_000)
}

// turn says whether an id may have the free lock; if not, it passes it on or keeps it.
func (m *mutexModel) turn(id string, now int64) bool {
	head := m.first(now)
	switch {
	case head == "":
		m.queued = false
		return true
	case head == id:
		return true
	case head[0] == 'a':
		if m.till == 0 {
			m.keep(head, now)
			m.woken = append(m.woken, head+" 0 0")
		}
		if m.till > now {
			return false
		}
		if head = m.firstSingle(now); head == "" || head == id {
			return true
		}
	}
	m.give(head, now, modelGrant)
	m.woken = append(m.woken, fmt.Sprintf("%s %d %d", head, m.token, now))
	return false
}

func (m *mutexModel) refusal(now int64) string {
	return strconv.FormatInt(-max(1, int64(math.Ceil(float64(m.till-now)/1000))), 10)
}

// may is whether an id may have the lock now.
func (m *mutexModel) may(id string, now int64) bool {
	return m.free(now) && (!m.queued || m.turn(id, now))
}

func (m *mutexModel) acquire(id string, queue bool, waited, now int64) string {
	if m.owner == id {
		age := now - (m.till - modelGrant)
		m.till = now + modelTTL
		return fmt.Sprintf("%d\n%d", m.token, age)
	}
	m.queued = m.queued || waited > 0
	if m.may(id, now) {
		m.give(id, now, modelTTL)
		return strconv.FormatInt(m.token, 10)
	}
	if queue {
		m.enter(id, now-waited, now)
		m.queued = true
	}
	m.known = true
	return fmt.Sprintf("%s\n%d", m.refusal(now), now)
}

func (m *mutexModel) release(id string, token, now int64) string {
	had := "0"
	switch {
	case m.owner == id:
		m.owner, m.till, had = "", 0, "1"
	case (m.queued || token == 0) && m.leave(id):
		had = "3"
	case token > 0 && token > m.lapsed && m.token >= token:
		return "2"
	}
	if had == "1" || had == "3" && m.owner == "" {
		if m.queued {
			if id[0] == 'a' {
				m.till = 0
			}
			m.turn("", now)
		}
	}
	return had
}

func (m *mutexModel) renew(id string, now int64) string {
	if m.owner != id || m.till <= now {
		return "0"
	}
	m.till = now + modelTTL
	return "1"
}

func (m *mutexModel) take(id string, now int64) string {
	switch {
	case m.owner == "" && !m.queued:
		m.give(id, now, modelTTL)
		return strconv.FormatInt(m.token, 10)
	case m.till > now:
		return m.refusal(now)
	}
	return "0"
}

func (m *mutexModel) giveBack(id string) string {
	if m.owner != id || m.queued {
		return "0"
	}
	m.owner, m.till = "", 0
	return "1"
}

func (m *mutexModel) inspect(now int64) string {
	holds := "0"
	if m.owner != "" && m.till > now {
		holds = fmt.Sprintf("1\n%s\n%d\n%d", m.owner, m.token, m.till-now)
	}
	return fmt.Sprintf("%d\n%s\n%d", m.token, holds[:1], len(m.place)) + "\n" + holds + m.listed(now)
}

// lives is what a process says of itself, and whether it counted as alive.
func (q *waiting) lives(process string, now int64) bool {
	if q.pulse[process] <= now {
		return false
	}
	q.pulse[process] = now + modelAlive
	return true
}

func (q *waiting) absent(ids []string) string {
	n, text := 0, ""
	for i, id := range ids {
		if _, ok := q.place[id]; !ok {
			n++
			text += fmt.Sprintf("\n%d", i+1)
		}
	}
	return strconv.Itoa(n) + text
}

func (m *mutexModel) beat(process string, ids []string, now int64) string {
	if !m.lives(process, now) {
		return "1000\n-1"
	}
	if m.free(now) {
		m.queued = true
		m.turn("", now)
	}
	soon := strconv.FormatInt(max(1, int64(math.Ceil(float64(m.till-now)/1000))), 10)
	if m.owner == "" {
		return soon + "\n-2"
	}
	return soon + "\n" + m.absent(ids)
}

// listed is the queue as inspect.lua and survey.lua list it.
func (q *waiting) listed(now int64) (text string) {
	for _, id := range q.order() {
		place := q.place[id]
		if id[0] == 'r' {
			place -= 4e15
		}
		text += fmt.Sprintf("\n%s\n%d", id, now-place)
	}
	return text
}

func takeAll(models []*mutexModel, id string, queue bool, waited, now int64) string {
	top, blocked := int64(0), -1
	for _, m := range models {
		top = max(top, m.token)
	}
	ready := make([]bool, len(models))
	for i, m := range models {
		m.queued = m.queued || waited > 0
		if ready[i] = m.owner == id || m.may(id, now); !ready[i] {
			top = max(top, m.token)
			if blocked < 0 {
				blocked = i
			}
		}
	}
	if blocked < 0 {
		for _, m := range models {
			m.token = top
			m.give(id, now, modelTTL)
		}
		return strconv.FormatInt(models[0].token, 10)
	}
	for i, m := range models {
		if queue {
			m.enter(id, now-waited, now)
			m.queued = true
			if ready[i] && m.owner == "" && m.till == 0 && m.first(now) == id {
				m.keep(id, now)
			}
		}
		m.known = m.known || queue || waited > 0
	}
	return fmt.Sprintf("%s\n%d\n%d", models[blocked].refusal(now), now, blocked+1)
}

// runner runs scripts on a real server.
type runner struct {
	t       *rapid.T
	conn    *rig.Conn
	scripts map[string]string
	prefix  string
	clock   string
	now     int64
	ran     map[string]int // scripts
}

func (r *runner) set(now int64) {
	r.now = now
	r.do("HSET", r.clock, "s", strconv.FormatInt(now/1_000_000, 10), "us", strconv.FormatInt(now%1_000_000, 10))
}

func (r *runner) do(args ...string) string {
	reply := r.conn.CLI(args...)
	if strings.HasPrefix(reply, "(error)") {
		r.t.Fatalf("%v: %s", args, reply)
	}
	return reply
}

func (r *runner) eval(script string, keys []string, args ...string) string {
	r.ran[script]++
	return r.do(append(append([]string{"EVAL", r.scripts[script], strconv.Itoa(len(keys))}, keys...), args...)...)
}

// woken takes what was published: ids, tokens, moments.
func (r *runner) woken() []string {
	list := r.prefix + "channel"
	told := strings.FieldsFunc(r.do("LRANGE", list, "0", "-1"), func(c rune) bool { return c == '\n' })
	r.do("DEL", list)
	return told
}

// property is what holds for every sequence of calls of some scripts, and how often each was run.
type property struct {
	conn      *rig.Conn
	namespace string
	round     int
	ran       map[string]int
}

func newProperty(t testing.TB) *property {
	return &property{conn: rig.Shared(t).Conn(t), namespace: rig.Prefix(t), ran: map[string]int{}}
}

// allRan sees to it that no script was left out.
func (p *property) allRan(t *testing.T, scripts ...string) {
	t.Helper()
	for _, script := range scripts {
		if p.ran[script] == 0 {
			t.Errorf("%s.lua was never run", script)
		}
	}
}

// fuzz makes a fuzz target of a property. The inputs that it starts with are all that it has in an ordinary test run.
func fuzz(f *testing.F, check func(*property, *rapid.T)) {
	random := rand.NewChaCha8([32]byte{1})
	for range 20 {
		seed := make([]byte, 8<<10)
		random.Read(seed)
		f.Add(seed)
	}
	round := 0
	f.Fuzz(func(t *testing.T, input []byte) {
		p := newProperty(t)
		p.round, round = round, round+1
		rapid.MakeFuzz(func(t *rapid.T) { check(p, t) })(t, input)
	})
}

func (p *property) runner(t *rapid.T) *runner {
	p.round++
	prefix := fmt.Sprintf("%s:%d:", p.namespace, p.round)
	r := &runner{t: t, conn: p.conn, prefix: prefix, clock: prefix + "clock", ran: p.ran}
	r.scripts = lock.Sources(r.clock)
	r.set(1_760_000_000_000_000)
	return r
}

func (r *runner) acquireArgs(id string, queue bool, waited int64) []string {
	alive := "0"
	if queue {
		alive = strconv.Itoa(modelAlive)
	}
	return []string{id, strconv.Itoa(modelTTL), "600000", alive, r.prefix + "channel", strconv.FormatInt(waited, 10), strconv.Itoa(modelGrant), "RPUSH"}
}

func TestMutexScriptsAgainstTheirModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.mutex)
	p.allRan(t, "acquire", "release", "renew", "take", "give", "all", "inspect", "pulse")
}

func FuzzMutexScripts(f *testing.F) {
	fuzz(f, (*property).mutex)
}

func (p *property) mutex(t *rapid.T) {
	r := p.runner(t)
	models := []*mutexModel{newMutexModel(), newMutexModel()}
	keys := func(i int) []string {
		k := fmt.Sprintf("%sm%d", r.prefix, i)
		return []string{k, k + "q", k + "w", k + "p"}
	}
	last := []int64{0, 0}
	ids := rapid.SampledFrom([]string{"m.a.1", "m.a.2", "m.b.1", "m.c.1", "a.a.3", "a.d.1"})
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			var woken []string
			for i, m := range models {
				woken = append(woken, m.woken...)
				m.woken = nil
				if m.token < last[i] {
					t.Fatalf("the token went from %d to %d", last[i], m.token)
				}
				last[i] = m.token
			}
			if got := r.woken(); !slices.Equal(got, woken) {
				t.Fatalf("woken: %v, want %v", got, woken)
			}
		},
		"time": func(t *rapid.T) {
			r.set(r.now + rapid.SampledFrom([]int64{1, 1000, 50_000, modelGrant, modelAlive, modelTTL, 3 * modelTTL, -1000}).Draw(t, "step"))
		},
		"lost": func(t *rapid.T) {
			i := rapid.IntRange(0, 1).Draw(t, "lock")
			r.do(append([]string{"DEL"}, keys(i)...)...)
			models[i], last[i] = newMutexModel(), 0
		},
		"acquire": func(t *rapid.T) {
			i, id, queue := rapid.IntRange(0, 1).Draw(t, "lock"), ids.Draw(t, "id"), rapid.Bool().Draw(t, "queue")
			waited := rapid.SampledFrom([]int64{0, 0, 1, 70_000}).Draw(t, "waited")
			want := models[i].acquire(id, queue, waited, r.now)
			if got := r.eval("acquire", keys(i), r.acquireArgs(id, queue, waited)...); got != want {
				t.Fatalf("acquire: %q, want %q", got, want)
			}
		},
		"release": func(t *rapid.T) {
			i, id := rapid.IntRange(0, 1).Draw(t, "lock"), ids.Draw(t, "id")
			token := rapid.SampledFrom([]int64{0, models[i].token, models[i].token - 1, models[i].lapsed, models[i].lapsed + 1}).Draw(t, "token")
			want := models[i].release(id, token, r.now)
			if got := r.eval("release", keys(i), id, strconv.FormatInt(token, 10), "600000", "RPUSH"); got != want {
				t.Fatalf("release: %q, want %q", got, want)
			}
		},
		"renew": func(t *rapid.T) {
			i, id := rapid.IntRange(0, 1).Draw(t, "lock"), ids.Draw(t, "id")
			want := models[i].renew(id, r.now)
			if got := r.eval("renew", keys(i)[:1], "600000", id, strconv.Itoa(modelTTL)); got != want {
				t.Fatalf("renew: %q, want %q", got, want)
			}
		},
		"take": func(t *rapid.T) {
			i, id := rapid.IntRange(0, 1).Draw(t, "lock"), ids.Draw(t, "id")
			want := models[i].take(id, r.now)
			if got := r.eval("take", keys(i)[:1], id, strconv.Itoa(modelTTL), "601000"); got != want {
				t.Fatalf("take: %q, want %q", got, want)
			}
		},
		"give": func(t *rapid.T) {
			i, id := rapid.IntRange(0, 1).Draw(t, "lock"), ids.Draw(t, "id")
			want := models[i].giveBack(id)
			if got := r.eval("give", keys(i)[:1], id); got != want {
				t.Fatalf("give: %q, want %q", got, want)
			}
		},
		"all": func(t *rapid.T) {
			id, queue := rapid.SampledFrom([]string{"a.a.3", "a.d.1"}).Draw(t, "id"), rapid.Bool().Draw(t, "queue")
			waited := rapid.SampledFrom([]int64{0, 0, 1, 70_000}).Draw(t, "waited")
			want := takeAll(models, id, queue, waited, r.now)
			if got := r.eval("all", append(keys(0), keys(1)...), r.acquireArgs(id, queue, waited)...); got != want {
				t.Fatalf("all: %q, want %q", got, want)
			}
		},
		"renew both": func(t *rapid.T) {
			first, second := ids.Draw(t, "first"), ids.Draw(t, "second")
			want := models[0].renew(first, r.now) + models[1].renew(second, r.now)
			if got := r.eval("renew", []string{keys(0)[0], keys(1)[0]}, "600000", first, strconv.Itoa(modelTTL), second, strconv.Itoa(modelTTL)); got != want {
				t.Fatalf("renew: %q, want %q", got, want)
			}
		},
		"pulse": func(t *rapid.T) {
			process := rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "process")
			ids0, ids1 := rapid.SliceOfN(ids, 0, 3).Draw(t, "first ids"), rapid.SliceOfN(ids, 0, 3).Draw(t, "second ids")
			want := fmt.Sprintf("%d\n", r.now) + models[0].beat(process, ids0, r.now) + "\n" + models[1].beat(process, ids1, r.now)
			args := append([]string{process, strconv.Itoa(modelAlive), "600000", "RPUSH", strconv.Itoa(len(ids0))}, ids0...)
			args = append(append(args, strconv.Itoa(len(ids1))), ids1...)
			if got := r.eval("pulse", append(keys(0), keys(1)...), args...); got != want {
				t.Fatalf("pulse: %q, want %q", got, want)
			}
		},
		"inspect": func(t *rapid.T) {
			i := rapid.IntRange(0, 1).Draw(t, "lock")
			if got, want := r.eval("inspect", keys(i), "100"), models[i].inspect(r.now); got != want {
				t.Fatalf("inspect: %q, want %q", got, want)
			}
		},
	})
}

// sharedModel is a semaphore or a read-write lock.
type sharedModel struct {
	waiting
	token   int64
	permits int
	till    map[string]int64 // holders
	tokens  map[string]int64
	woken   []string
}

func (m *sharedModel) expire(now int64) {
	for id, till := range m.till {
		if till <= now {
			delete(m.till, id)
			delete(m.tokens, id)
		}
	}
}

func (m *sharedModel) fits(id string) bool {
	switch id[0] {
	case 's':
		used := weightOf(id)
		for other := range m.till {
			used += weightOf(other)
		}
		return used <= m.permits
	case 'w':
		return len(m.till) == 0
	}
	for other := range m.till {
		if other[0] != 'r' {
			return false
		}
	}
	return true
}

func weightOf(id string) int {
	if n, err := strconv.Atoi(strings.Split(id, ".")[0][1:]); err == nil {
		return n
	}
	return 1
}

func (m *sharedModel) give(id string, now, ttl int64) {
	m.token = max(m.token+1, now)
	m.till[id], m.tokens[id] = now+ttl, m.token
}

func (m *sharedModel) pass(now int64) (head string) {
	for {
		head = m.first(now)
		if head == "" || !m.fits(head) {
			return head
		}
		m.leave(head)
		m.give(head, now, modelGrant)
		m.woken = append(m.woken, fmt.Sprintf("%s %d %d", head, m.token, now))
	}
}

func (m *sharedModel) enter(id string, queue bool, waited, now int64) string {
	m.expire(now)
	if till, ok := m.till[id]; ok {
		m.till[id] = now + modelTTL
		return fmt.Sprintf("%d\n%d", m.tokens[id], now-(till-modelGrant))
	}
	head := m.pass(now)
	if _, ok := m.till[id]; ok || head == "" && m.fits(id) {
		m.leave(id)
		m.give(id, now, modelTTL)
		return strconv.FormatInt(m.token, 10)
	}
	if queue {
		place := now - waited
		if id[0] == 'r' {
			place += 4e15
		}
		m.waiting.enter(id, place, now)
	}
	soonest := now
	for _, till := range m.till {
		if soonest == now || till < soonest {
			soonest = till
		}
	}
	return fmt.Sprintf("%d\n%d", -max(1, int64(math.Ceil(float64(soonest-now)/1000))), now)
}

func (m *sharedModel) exit(id string, now int64) string {
	had := "0"
	if _, ok := m.till[id]; ok {
		delete(m.till, id)
		delete(m.tokens, id)
		had = "1"
	} else if m.leave(id) {
		had = "3"
	}
	if had != "0" {
		m.expire(now)
		m.pass(now)
	}
	return had
}

func (m *sharedModel) beat(process string, ids []string, now int64) string {
	if !m.lives(process, now) {
		return "1000\n-1"
	}
	m.expire(now)
	m.pass(now)
	soonest := now
	for _, till := range m.till {
		if soonest == now || till < soonest {
			soonest = till
		}
	}
	return fmt.Sprintf("%d\n", max(1, int64(math.Ceil(float64(soonest-now)/1000)))) + m.absent(ids)
}

func (m *sharedModel) stay(id string, now int64) string {
	if till, ok := m.till[id]; !ok || till <= now {
		return "0"
	}
	m.till[id] = now + modelTTL
	return "1"
}

func (m *sharedModel) survey(now int64) string {
	var live []string
	for id, till := range m.till {
		if till > now {
			live = append(live, id)
		}
	}
	slices.SortFunc(live, func(a, b string) int {
		if c := m.till[a] - m.till[b]; c != 0 {
			return int(c)
		}
		return strings.Compare(a, b)
	})
	text := fmt.Sprintf("%d\n%d\n%d\n%d", m.token, len(live), len(m.place), len(live))
	for _, id := range live {
		text += fmt.Sprintf("\n%s\n%d\n%d", id, m.tokens[id], m.till[id]-now)
	}
	return text + m.listed(now)
}

func TestSharedScriptsAgainstTheirModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.shared)
	p.allRan(t, "enter", "exit", "stay", "survey", "beat")
}

func FuzzSharedScripts(f *testing.F) {
	fuzz(f, (*property).shared)
}

func (p *property) shared(t *rapid.T) {
	r := p.runner(t)
	ids, permits := rapid.SampledFrom([]string{"r.a.1", "r.a.2", "r.b.1", "w.a.1", "w.b.1"}), 1
	if rapid.Bool().Draw(t, "semaphore") {
		ids, permits = rapid.SampledFrom([]string{"s.a.1", "s.a.2", "s2.b.1", "s.b.2", "s3.c.1"}), 3
	}
	m := &sharedModel{waiting: newWaiting(), permits: permits, till: map[string]int64{}, tokens: map[string]int64{}}
	keys := []string{r.prefix + "s", r.prefix + "sq", r.prefix + "sw", r.prefix + "sh", r.prefix + "sp"}
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if got := r.woken(); !slices.Equal(got, m.woken) {
				t.Fatalf("woken: %v, want %v", got, m.woken)
			}
			m.woken = nil
			used := 0
			for id := range m.till {
				used += weightOf(id)
			}
			if permits > 1 && used > permits {
				t.Fatalf("%d of %d permits are held", used, permits)
			}
		},
		"time": func(t *rapid.T) {
			r.set(r.now + rapid.SampledFrom([]int64{1, 1000, 50_000, modelGrant, modelAlive, modelTTL, 3 * modelTTL}).Draw(t, "step"))
		},
		"enter": func(t *rapid.T) {
			id, queue := ids.Draw(t, "id"), rapid.Bool().Draw(t, "queue")
			waited := rapid.SampledFrom([]int64{0, 0, 1, 70_000}).Draw(t, "waited")
			want := m.enter(id, queue, waited, r.now)
			if got := r.eval("enter", keys, append(r.acquireArgs(id, queue, waited), strconv.Itoa(permits))...); got != want {
				t.Fatalf("enter: %q, want %q", got, want)
			}
		},
		"exit": func(t *rapid.T) {
			id := ids.Draw(t, "id")
			want := m.exit(id, r.now)
			if got := r.eval("exit", keys, id, "0", "600000", "RPUSH", strconv.Itoa(permits)); got != want {
				t.Fatalf("exit: %q, want %q", got, want)
			}
		},
		"stay": func(t *rapid.T) {
			id := ids.Draw(t, "id")
			want := m.stay(id, r.now)
			if got := r.eval("stay", keys, "600000", id, strconv.Itoa(modelTTL)); got != want {
				t.Fatalf("stay: %q, want %q", got, want)
			}
		},
		"beat": func(t *rapid.T) {
			process, looked := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "process"), rapid.SliceOfN(ids, 0, 3).Draw(t, "ids")
			want := fmt.Sprintf("%d\n", r.now) + m.beat(process, looked, r.now)
			args := append([]string{process, strconv.Itoa(modelAlive), "600000", "RPUSH", strconv.Itoa(permits), strconv.Itoa(len(looked))}, looked...)
			if got := r.eval("beat", keys, args...); got != want {
				t.Fatalf("beat: %q, want %q", got, want)
			}
		},
		"survey": func(t *rapid.T) {
			if got, want := r.eval("survey", keys, "100"), m.survey(r.now); got != want {
				t.Fatalf("survey: %q, want %q", got, want)
			}
		},
	})
}

func TestFenceScriptAgainstItsModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.fence)
	p.allRan(t, "fence")
}

func FuzzFenceScript(f *testing.F) {
	fuzz(f, (*property).fence)
}

func (p *property) fence(t *rapid.T) {
	r := p.runner(t)
	var fence int64
	value := ""
	t.Repeat(map[string]func(*rapid.T){
		"set": func(t *rapid.T) {
			token, v := rapid.Int64Range(1, 1<<52).Draw(t, "token"), rapid.StringN(1, 8, 8).Draw(t, "value")
			want := "0"
			if token >= fence {
				want, fence, value = "1", token, v
			}
			if got := r.eval("fence", []string{r.prefix + "f"}, strconv.FormatInt(token, 10), v, "60000"); got != want {
				t.Fatalf("fence: %q, want %q", got, want)
			}
			if got := r.do("HGET", r.prefix+"f", "v"); got != value {
				t.Fatalf("the value is %q, want %q", got, value)
			}
		},
	})
}

// TestEveryScriptHasAModel: a script that is not among those that the properties run is an oversight.
func TestEveryScriptHasAModel(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.lua")
	if err != nil {
		t.Fatal(err)
	}
	sources := lock.Sources("clock")
	for _, file := range files {
		name := strings.TrimSuffix(file, ".lua")
		parts := []string{"queue", "state", "mutex", "holders", "list", "alive"} // of other scripts
		if _, ok := sources[name]; !ok && !slices.Contains(parts, name) {
			t.Errorf("%s has no model", file)
		}
	}
	if len(files) < len(sources) {
		t.Errorf("%d files, %d scripts", len(files), len(sources))
	}
}
