package lock_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sharedModel is a semaphore or a read-write lock.
type sharedModel struct {
	waiting
	token    int64
	permits  int
	leaseEnd map[string]int64 // end of each holder's lease
	tokens   map[string]int64
	woken    []string
}

func (m *sharedModel) expire(now int64) {
	for id, till := range m.leaseEnd {
		if till <= now {
			delete(m.leaseEnd, id)
			delete(m.tokens, id)
		}
	}
}

func (m *sharedModel) fits(id string) bool {
	switch id[0] {
	case 's':
		used := weightOf(id)
		for other := range m.leaseEnd {
			used += weightOf(other)
		}
		return used <= m.permits
	case 'w':
		return len(m.leaseEnd) == 0
	}
	for other := range m.leaseEnd {
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
	m.leaseEnd[id], m.tokens[id] = now+ttl, m.token
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
	if till, ok := m.leaseEnd[id]; ok {
		m.leaseEnd[id] = now + modelTTL
		return fmt.Sprintf("%d\n%d", m.tokens[id], now-(till-modelGrant))
	}
	head := m.pass(now)
	if _, ok := m.leaseEnd[id]; ok || head == "" && m.fits(id) {
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
	for _, till := range m.leaseEnd {
		if soonest == now || till < soonest {
			soonest = till
		}
	}
	return fmt.Sprintf("%d\n%d", -max(1, int64(math.Ceil(float64(soonest-now)/1000))), now)
}

func (m *sharedModel) exit(id string, now int64) string {
	had := "0"
	if _, ok := m.leaseEnd[id]; ok {
		delete(m.leaseEnd, id)
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
	for _, till := range m.leaseEnd {
		if soonest == now || till < soonest {
			soonest = till
		}
	}
	return fmt.Sprintf("%d\n", max(1, int64(math.Ceil(float64(soonest-now)/1000)))) + m.absent(ids)
}

func (m *sharedModel) stay(id string, now int64) string {
	if till, ok := m.leaseEnd[id]; !ok || till <= now {
		return "0"
	}
	m.leaseEnd[id] = now + modelTTL
	return "1"
}

func (m *sharedModel) survey(now int64) string {
	var live []string
	for id, till := range m.leaseEnd {
		if till > now {
			live = append(live, id)
		}
	}
	slices.SortFunc(live, func(a, b string) int {
		if c := m.leaseEnd[a] - m.leaseEnd[b]; c != 0 {
			return int(c)
		}
		return strings.Compare(a, b)
	})
	text := fmt.Sprintf("%d\n%d\n%d\n%d", m.token, len(live), len(m.place), len(live))
	for _, id := range live {
		text += fmt.Sprintf("\n%s\n%d\n%d", id, m.tokens[id], m.leaseEnd[id]-now)
	}
	return text + m.listed(now)
}

func TestSharedScriptsAgainstTheirModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.shared)
	p.allRan(t, "shared_acquire", "shared_release", "shared_renew", "shared_inspect", "shared_heartbeat")
}

func FuzzSharedScripts(f *testing.F) {
	fuzz(f, (*property).shared)
}

func (p *property) shared(t *rapid.T) {
	h := &sharedHistory{r: p.runner(t), ids: rapid.SampledFrom([]string{"r.a.1", "r.a.2", "r.b.1", "w.a.1", "w.b.1"})}
	permits := 1
	if rapid.Bool().Draw(t, "semaphore") {
		h.ids, permits = rapid.SampledFrom([]string{"s.a.1", "s.a.2", "s2.b.1", "s.b.2", "s3.c.1"}), 3
	}
	h.m = &sharedModel{waiting: newWaiting(), permits: permits, leaseEnd: map[string]int64{}, tokens: map[string]int64{}}
	for _, suffix := range []string{"s", "sq", "sw", "sh", "sp"} {
		h.keys = append(h.keys, h.r.prefix+suffix)
	}
	defer func() { h.r.do(append([]string{"DEL"}, h.keys...)...) }() // a fuzzer runs many rounds
	t.Repeat(rapid.StateMachineActions(h))
}

// sharedHistory is calls on one read-write lock or semaphore. Each call is made on the server and
// on the model, and the answers are compared.
type sharedHistory struct {
	r    *runner
	m    *sharedModel
	ids  *rapid.Generator[string]
	keys []string
}

func (h *sharedHistory) Check(t *rapid.T) {
	if got := h.r.woken(); !slices.Equal(got, h.m.woken) {
		t.Fatalf("woken: %v, want %v", got, h.m.woken)
	}
	h.m.woken = nil
	used := 0
	for id := range h.m.leaseEnd {
		used += weightOf(id)
	}
	if h.m.permits > 1 && used > h.m.permits {
		t.Fatalf("%d of %d permits are held", used, h.m.permits)
	}
}

func (h *sharedHistory) Time(t *rapid.T) {
	h.r.set(h.r.now + rapid.SampledFrom([]int64{1, 1000, 50_000, modelGrant, modelAlive, modelTTL, 3 * modelTTL}).Draw(t, "step"))
}

func (h *sharedHistory) Enter(t *rapid.T) {
	id, queue := h.ids.Draw(t, "id"), rapid.Bool().Draw(t, "queue")
	waited := rapid.SampledFrom([]int64{0, 0, 1, 70_000}).Draw(t, "waited")
	want := h.m.enter(id, queue, waited, h.r.now)
	if got := h.r.eval("shared_acquire", h.keys, append(h.r.acquireArgs(id, queue, waited),
		strconv.Itoa(h.m.permits))...); got != want {
		t.Fatalf("enter: %q, want %q", got, want)
	}
}

func (h *sharedHistory) Exit(t *rapid.T) {
	id := h.ids.Draw(t, "id")
	want := h.m.exit(id, h.r.now)
	if got := h.r.eval("shared_release", h.keys, id, "0", "600000", "RPUSH", strconv.Itoa(h.m.permits)); got != want {
		t.Fatalf("exit: %q, want %q", got, want)
	}
}

func (h *sharedHistory) Stay(t *rapid.T) {
	id := h.ids.Draw(t, "id")
	want := h.m.stay(id, h.r.now)
	if got := h.r.eval("shared_renew", h.keys, "600000", id, strconv.Itoa(modelTTL)); got != want {
		t.Fatalf("stay: %q, want %q", got, want)
	}
}

func (h *sharedHistory) Beat(t *rapid.T) {
	process, looked := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "process"), rapid.SliceOfN(h.ids, 0, 3).Draw(t, "ids")
	want := fmt.Sprintf("%d\n", h.r.now) + h.m.beat(process, looked, h.r.now)
	args := append([]string{process, strconv.Itoa(modelAlive), "600000", "RPUSH", strconv.Itoa(h.m.permits),
		strconv.Itoa(len(looked))}, looked...)
	if got := h.r.eval("shared_heartbeat", h.keys, args...); got != want {
		t.Fatalf("beat: %q, want %q", got, want)
	}
}

func (h *sharedHistory) Survey(t *rapid.T) {
	if got, want := h.r.eval("shared_inspect", h.keys, "100"), h.m.survey(h.r.now); got != want {
		t.Fatalf("survey: %q, want %q", got, want)
	}
}
