package lock_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
)

// The scripts and their Go models run side by side on random sequences of calls, with a clock that
// the test moves. A script publishes into a list in place of a channel.

const (
	modelTTL   = 1_000_000 // µs
	modelGrant = 100_000
	modelAlive = 300_000
)

// mutexModel is one plain lock. The fields are what the server stores in one string. The lock is
// handed over when it is free, a live waiter exists, and a script looks.
type mutexModel struct {
	waiting
	known                    bool
	token, leaseEnd, expired int64
	queued                   bool
	owner                    string
	woken                    []string
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
		m.expired = m.token - 1
	}
	m.known, m.owner, m.leaseEnd = true, id, now+ttl
}

// free ends a lease that is over.
func (m *mutexModel) free(now int64) bool {
	if m.owner != "" && m.leaseEnd <= now {
		m.expired, m.owner, m.leaseEnd = m.token, "", 0
	}
	return m.owner == ""
}

// reserve reserves the free lock for the All at the head, as long as the All has waited.
func (m *mutexModel) reserve(id string, now int64) {
	m.leaseEnd = now + min(max(now-m.place[id], 100_000), 5_000_000)
}

// mayTake returns whether id may take the free lock. If not, it hands the lock over or reserves it.
func (m *mutexModel) mayTake(id string, now int64) bool {
	head := m.first(now)
	switch {
	case head == "": // a reservation ends with the queue
		m.queued, m.leaseEnd = false, 0
		return true
	case head == id:
		return true
	case head[0] == 'a':
		if m.leaseEnd == 0 {
			m.reserve(head, now)
			m.woken = append(m.woken, head+" 0 0")
		}
		if m.leaseEnd > now {
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
	return strconv.FormatInt(-max(1, int64(math.Ceil(float64(m.leaseEnd-now)/1000))), 10)
}

// may returns whether id may take the lock now.
func (m *mutexModel) may(id string, now int64) bool {
	return m.free(now) && (!m.queued || m.mayTake(id, now))
}

func (m *mutexModel) acquire(id string, queue bool, waited, now int64) string {
	if m.owner == id {
		age := now - (m.leaseEnd - modelGrant)
		m.leaseEnd = now + modelTTL
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
		m.owner, m.leaseEnd, had = "", 0, "1"
	case (m.queued || token == 0) && m.leave(id):
		had = "3"
	case token > 0 && token > m.expired && m.token >= token:
		return "2"
	}
	if had == "1" || had == "3" && m.owner == "" {
		if m.queued {
			if id[0] == 'a' {
				m.leaseEnd = 0
			}
			m.mayTake("", now)
		}
	}
	return had
}

func (m *mutexModel) renew(id string, now int64) string {
	if m.owner != id || m.leaseEnd <= now {
		return "0"
	}
	m.leaseEnd = now + modelTTL
	return "1"
}

func (m *mutexModel) take(id string, now int64) string {
	switch {
	case m.owner == "" && !m.queued:
		m.give(id, now, modelTTL)
		return strconv.FormatInt(m.token, 10)
	case m.leaseEnd > now:
		return m.refusal(now)
	}
	return "0"
}

func (m *mutexModel) giveBack(id string) string {
	if m.owner != id || m.queued {
		return "" // nil
	}
	m.owner, m.leaseEnd = "", 0
	return "1"
}

func (m *mutexModel) inspect(now int64) string {
	holds := "0"
	if m.owner != "" && m.leaseEnd > now {
		holds = fmt.Sprintf("1\n%s\n%d\n%d", m.owner, m.token, m.leaseEnd-now)
	}
	return fmt.Sprintf("%d\n%s\n%d", m.token, holds[:1], len(m.place)) + "\n" + holds + m.listed(now)
}

func (m *mutexModel) beat(process string, ids []string, now int64) string {
	if !m.lives(process, now) {
		return "1000\n-1"
	}
	if m.free(now) {
		m.queued = true
		m.mayTake("", now)
	}
	soon := strconv.FormatInt(max(1, int64(math.Ceil(float64(m.leaseEnd-now)/1000))), 10)
	if m.owner == "" {
		return soon + "\n-2"
	}
	return soon + "\n" + m.absent(ids)
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
			if ready[i] && m.owner == "" && m.leaseEnd == 0 && m.first(now) == id {
				m.reserve(id, now)
			}
		}
		m.known = m.known || queue || waited > 0
	}
	return fmt.Sprintf("%s\n%d\n%d", models[blocked].refusal(now), now, blocked+1)
}

// property is what holds for every sequence of calls of some scripts, and how often each script
// ran.
type property struct {
	conn      *rig.Conn
	namespace string
	clock     string
	scripts   map[string]string
	round     int
	ran       map[string]int
}

func TestMutexScriptsAgainstTheirModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.mutex)
	p.allRan(t, "mutex_acquire", "mutex_release", "mutex_renew", "mutex_fast_acquire", "mutex_fast_release",
		"several_acquire", "mutex_inspect", "mutex_heartbeat")
}

func FuzzMutexScripts(f *testing.F) {
	fuzz(f, (*property).mutex)
}

func (p *property) mutex(t *rapid.T) {
	h := &mutexHistory{r: p.runner(t), models: []*mutexModel{newMutexModel(), newMutexModel()}, last: []int64{0, 0}}
	defer func() { h.r.do(append(append([]string{"DEL"}, h.keys(0)...), h.keys(1)...)...) }() // a fuzzer runs many rounds
	t.Repeat(rapid.StateMachineActions(h))
}

// mutexHistory is calls on two locks. Each call is made on the server and on the model, and the
// answers are compared.
type mutexHistory struct {
	r      *runner
	models []*mutexModel
	last   []int64 // tokens
}

var someID = rapid.SampledFrom([]string{"m.a.1", "m.a.2", "m.b.1", "m.c.1", "a.a.3", "a.d.1"})

func (h *mutexHistory) lock(t *rapid.T) int { return rapid.IntRange(0, 1).Draw(t, "lock") }

func (h *mutexHistory) keys(i int) []string {
	k := fmt.Sprintf("%sm%d", h.r.prefix, i)
	return []string{k, k + "q", k + "w", k + "p"}
}

func (h *mutexHistory) Check(t *rapid.T) {
	var woken []string
	for i, m := range h.models {
		woken = append(woken, m.woken...)
		m.woken = nil
		if m.token < h.last[i] {
			t.Fatalf("the token went from %d to %d", h.last[i], m.token)
		}
		h.last[i] = m.token
	}
	if got := h.r.woken(); !slices.Equal(got, woken) {
		t.Fatalf("woken: %v, want %v", got, woken)
	}
}

func (h *mutexHistory) Time(t *rapid.T) {
	h.r.set(h.r.now + rapid.SampledFrom([]int64{1, 1000, 50_000, modelGrant, modelAlive, modelTTL,
		3 * modelTTL, -1000}).Draw(t, "step"))
}

func (h *mutexHistory) Lost(t *rapid.T) {
	i := h.lock(t)
	h.r.do(append([]string{"DEL"}, h.keys(i)...)...)
	h.models[i], h.last[i] = newMutexModel(), 0
}

func (h *mutexHistory) Acquire(t *rapid.T) {
	i, id, queue := h.lock(t), someID.Draw(t, "id"), rapid.Bool().Draw(t, "queue")
	waited := rapid.SampledFrom([]int64{0, 0, 1, 70_000}).Draw(t, "waited")
	want := h.models[i].acquire(id, queue, waited, h.r.now)
	if got := h.r.eval("mutex_acquire", h.keys(i), h.r.acquireArgs(id, queue, waited)...); got != want {
		t.Fatalf("acquire: %q, want %q", got, want)
	}
}

func (h *mutexHistory) Release(t *rapid.T) {
	i, id := h.lock(t), someID.Draw(t, "id")
	token := rapid.SampledFrom([]int64{0, h.models[i].token, h.models[i].token - 1, h.models[i].expired,
		h.models[i].expired + 1}).Draw(t, "token")
	want := h.models[i].release(id, token, h.r.now)
	if got := h.r.eval("mutex_release", h.keys(i), id, strconv.FormatInt(token, 10), "600000", "RPUSH"); got != want {
		t.Fatalf("release: %q, want %q", got, want)
	}
}

func (h *mutexHistory) Renew(t *rapid.T) {
	i, id := h.lock(t), someID.Draw(t, "id")
	want := h.models[i].renew(id, h.r.now)
	if got := h.r.eval("mutex_renew", h.keys(i)[:1], "600000", id, strconv.Itoa(modelTTL)); got != want {
		t.Fatalf("renew: %q, want %q", got, want)
	}
}

func (h *mutexHistory) Take(t *rapid.T) {
	i, id := h.lock(t), someID.Draw(t, "id")
	want := h.models[i].take(id, h.r.now)
	if got := h.r.eval("mutex_fast_acquire", h.keys(i)[:1], id, strconv.Itoa(modelTTL), "601000"); got != want {
		t.Fatalf("take: %q, want %q", got, want)
	}
}

func (h *mutexHistory) Give(t *rapid.T) {
	i, id := h.lock(t), someID.Draw(t, "id")
	want := h.models[i].giveBack(id)
	if got := h.r.eval("mutex_fast_release", h.keys(i)[:1], id); got != want {
		t.Fatalf("give: %q, want %q", got, want)
	}
}

func (h *mutexHistory) All(t *rapid.T) {
	id, queue := rapid.SampledFrom([]string{"a.a.3", "a.d.1"}).Draw(t, "id"), rapid.Bool().Draw(t, "queue")
	waited := rapid.SampledFrom([]int64{0, 0, 1, 70_000}).Draw(t, "waited")
	want := takeAll(h.models, id, queue, waited, h.r.now)
	if got := h.r.eval("several_acquire", append(h.keys(0), h.keys(1)...), h.r.acquireArgs(id, queue, waited)...); got != want {
		t.Fatalf("all: %q, want %q", got, want)
	}
}

func (h *mutexHistory) RenewBoth(t *rapid.T) {
	first, second := someID.Draw(t, "first"), someID.Draw(t, "second")
	want := h.models[0].renew(first, h.r.now) + h.models[1].renew(second, h.r.now)
	if got := h.r.eval("mutex_renew", []string{h.keys(0)[0], h.keys(1)[0]}, "600000", first,
		strconv.Itoa(modelTTL), second, strconv.Itoa(modelTTL)); got != want {
		t.Fatalf("renew: %q, want %q", got, want)
	}
}

func (h *mutexHistory) Pulse(t *rapid.T) {
	process := rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "process")
	ids0, ids1 := rapid.SliceOfN(someID, 0, 3).Draw(t, "first ids"), rapid.SliceOfN(someID, 0, 3).Draw(t, "second ids")
	want := fmt.Sprintf("%d\n", h.r.now) + h.models[0].beat(process, ids0, h.r.now) + "\n" +
		h.models[1].beat(process, ids1, h.r.now)
	args := append([]string{process, strconv.Itoa(modelAlive), "600000", "RPUSH", strconv.Itoa(len(ids0))}, ids0...)
	args = append(append(args, strconv.Itoa(len(ids1))), ids1...)
	if got := h.r.eval("mutex_heartbeat", append(h.keys(0), h.keys(1)...), args...); got != want {
		t.Fatalf("pulse: %q, want %q", got, want)
	}
}

func (h *mutexHistory) Inspect(t *rapid.T) {
	i := h.lock(t)
	if got, want := h.r.eval("mutex_inspect", h.keys(i), "100"), h.models[i].inspect(h.r.now); got != want {
		t.Fatalf("inspect: %q, want %q", got, want)
	}
}
