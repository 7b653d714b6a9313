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
}

func (q *waiting) leave(id string) bool {
	_, was := q.place[id]
	delete(q.place, id)
	delete(q.alive, id)
	return was
}

// first drops the dead before the first live one, as the scripts do.
func (q *waiting) first(now int64) string {
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
	for _, id := range ids {
		if q.alive[id] > now {
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
	return &mutexModel{waiting: waiting{map[string]int64{}, map[string]int64{}}}
}

func (m *mutexModel) give(id string, now, ttl int64) {
	m.token = max(m.token+1, now)
	if !m.known {
		m.lapsed = m.token - 1
	}
	m.known, m.owner, m.till = true, id, now+ttl
}

func (m *mutexModel) pass(id string, now int64) {
	m.leave(id)
	m.give(id, now, modelGrant)
	m.queued = len(m.place) > 0
	m.woken = append(m.woken, fmt.Sprintf("%s %d %d", id, m.token, now))
}

func (m *mutexModel) refusal(now int64) string {
	return strconv.FormatInt(-max(1, int64(math.Ceil(float64(m.till-now)/1000))), 10)
}

func (m *mutexModel) acquire(id string, queue bool, waited, now int64) string {
	if m.owner == id {
		age := now - (m.till - modelGrant)
		m.till = now + modelTTL
		return fmt.Sprintf("%d\n%d", m.token, age)
	}
	if m.owner == "" || m.till <= now {
		head := ""
		if m.queued || waited > 0 {
			head = m.first(now)
		}
		if m.owner != "" {
			m.lapsed, m.owner = m.token, ""
		}
		if head == "" || head == id {
			if head != "" {
				m.leave(id)
				m.queued = len(m.place) > 0
			} else {
				m.queued = false
			}
			m.give(id, now, modelTTL)
			return strconv.FormatInt(m.token, 10)
		}
		m.pass(head, now)
	}
	if queue {
		m.enter(id, now-waited, now)
		m.queued, m.known = true, true
	}
	return fmt.Sprintf("%s\n%d", m.refusal(now), now)
}

func (m *mutexModel) release(id string, token, now int64) string {
	if m.owner == id {
		m.owner, m.till = "", 0
		if m.queued {
			if head := m.first(now); head != "" {
				m.pass(head, now)
			} else {
				m.queued = false
			}
		}
		return "1"
	}
	if (m.queued || token == 0) && m.leave(id) {
		return "3"
	}
	if token > 0 && token > m.lapsed && m.token >= token {
		return "2"
	}
	return "0"
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

func takeAll(models []*mutexModel, id string, now int64) string {
	top := int64(0)
	for i, m := range models {
		if m.owner != id && (m.owner != "" && m.till > now || m.queued) {
			return strconv.Itoa(-i - 1)
		}
		top = max(top, m.token)
	}
	for _, m := range models {
		if m.owner != "" && m.owner != id {
			m.lapsed = m.token
		}
		m.token = max(m.token, top)
		m.give(id, now, modelTTL)
	}
	return strconv.FormatInt(models[0].token, 10)
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
	p.allRan(t, "acquire", "release", "renew", "take", "give", "all")
}

func FuzzMutexScripts(f *testing.F) {
	fuzz(f, (*property).mutex)
}

func (p *property) mutex(t *rapid.T) {
	r := p.runner(t)
	models := []*mutexModel{newMutexModel(), newMutexModel()}
	keys := func(i int) []string {
		k := fmt.Sprintf("%sm%d", r.prefix, i)
		return []string{k, k + "q", k + "w"}
	}
	last := []int64{0, 0}
	ids := rapid.SampledFrom([]string{"m.a.1", "m.a.2", "m.b.1", "m.c.1"})
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
			r.do("DEL", keys(i)[0], keys(i)[1], keys(i)[2])
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
			if got := r.eval("renew", keys(i), id, strconv.Itoa(modelTTL), "600000"); got != want {
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
			id := ids.Draw(t, "id")
			want := takeAll(models, id, r.now)
			if got := r.eval("all", []string{keys(0)[0], keys(1)[0]}, id, strconv.Itoa(modelTTL), "600000"); got != want {
				t.Fatalf("all: %q, want %q", got, want)
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
		return len(m.till) < m.permits
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

func (m *sharedModel) stay(id string, now int64) string {
	if till, ok := m.till[id]; !ok || till <= now {
		return "0"
	}
	m.till[id] = now + modelTTL
	return "1"
}

func TestSharedScriptsAgainstTheirModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.shared)
	p.allRan(t, "enter", "exit", "stay")
}

func FuzzSharedScripts(f *testing.F) {
	fuzz(f, (*property).shared)
}

func (p *property) shared(t *rapid.T) {
	r := p.runner(t)
	ids, permits := rapid.SampledFrom([]string{"r.a.1", "r.a.2", "r.b.1", "w.a.1", "w.b.1"}), 1
	if rapid.Bool().Draw(t, "semaphore") {
		ids, permits = rapid.SampledFrom([]string{"s.a.1", "s.a.2", "s.b.1", "s.b.2", "s.c.1"}), 2
	}
	m := &sharedModel{waiting: waiting{map[string]int64{}, map[string]int64{}}, permits: permits, till: map[string]int64{}, tokens: map[string]int64{}}
	keys := []string{r.prefix + "s", r.prefix + "sq", r.prefix + "sw", r.prefix + "sh"}
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if got := r.woken(); !slices.Equal(got, m.woken) {
				t.Fatalf("woken: %v, want %v", got, m.woken)
			}
			m.woken = nil
			if permits > 1 && len(m.till) > permits {
				t.Fatalf("%d hold %d permits", len(m.till), permits)
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
			if got := r.eval("stay", keys, id, strconv.Itoa(modelTTL), "600000"); got != want {
				t.Fatalf("stay: %q, want %q", got, want)
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
		parts := []string{"queue", "state", "holders"} // of other scripts
		if _, ok := sources[name]; !ok && !slices.Contains(parts, name) {
			t.Errorf("%s has no model", file)
		}
	}
	if len(files) < len(sources) {
		t.Errorf("%d files, %d scripts", len(files), len(sources))
	}
}
