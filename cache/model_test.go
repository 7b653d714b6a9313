package cache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// These tests compare the scripts with Go models, on random sequences of calls by several loads.
// The test moves the time: it deletes keys whose TTL ends. TTLs are so far apart that the seconds
// of a run can't hide a mistake.

const modelSlack = 50_000 // ms

// stored is a key on the server: absent, a string, or a list that another program wrote.
type stored struct {
	kind string // as the reply to TYPE
	data string
	ttl  int64 // ms; -1 for none
}

var absent = stored{kind: "none", ttl: -2}

func (s *stored) is(data string) bool { return s.kind == "string" && s.data == data }

// entryModel is the model of one entry: its value, its lease, and the outcome of the last load that
// stored nothing.
type entryModel struct{ value, lease, outcome stored }

// take is the request of lease.go: SET lease token NX GET PX ttl.
func (m *entryModel) take(token string, ttl int64) string {
	switch m.lease.kind {
	case "none":
		m.lease = stored{"string", token, ttl}
		return ""
	case "string":
		return m.lease.data
	}
	return "(error) WRONGTYPE"
}

func (m *entryModel) fill(token, value string, ttl int64) string {
	if !m.lease.is(token) {
		return "0"
	}
	m.value, m.lease = stored{"string", value, ttl}, absent
	return "1"
}

func (m *entryModel) free(token string, drop bool, outcome string, ttl int64) string {
	if !m.lease.is(token) {
		return "0"
	}
	m.lease = absent
	if outcome != "" {
		m.outcome = stored{"string", token + outcome, ttl}
	}
	if drop {
		m.value = absent
	}
	return "1"
}

func (m *entryModel) set(value string, ttl int64) string {
	m.value = stored{"string", value, ttl}
	if !m.lease.is("hold") {
		m.lease = absent
	}
	return "1"
}

func (m *entryModel) hold(ttl int64) string {
	m.value, m.lease = absent, stored{"string", "hold", ttl}
	return "1"
}

func (m *entryModel) expire(hold int64) string {
	switch {
	case m.value.kind == "none":
	case m.value.kind != "string" || len(m.value.data) < 40:
		m.value = absent
	default:
		m.value.data = m.value.data[:20] + strings.Repeat("\x00", 8) + m.value.data[28:]
	}
	switch {
	case hold > 0:
		m.lease = stored{"string", "hold", hold}
	case !m.lease.is("hold"):
		m.lease = absent
	}
	return "1"
}

// scripted runs scripts on a real server.
type scripted struct {
	conn   *rig.Conn
	prefix string
}

var sources = cache.Sources()

// do returns an error as its first word.
func (s *scripted) do(args ...string) string {
	reply := s.conn.CLI(args...)
	if rest, failed := strings.CutPrefix(reply, "(error) "); failed {
		word, _, _ := strings.Cut(rest, " ")
		return "(error) " + word
	}
	return reply
}

func (s *scripted) eval(script string, keys []string, args ...string) string {
	return s.do(append(append([]string{"EVAL", sources[script], strconv.Itoa(len(keys))}, keys...), args...)...)
}

// is fails unless the key equals the model.
func (s *scripted) is(t *rapid.T, key string, want stored) {
	if got := s.do("TYPE", key); got != want.kind {
		t.Fatalf("%s is a %s, want %s (%q)", key, got, want.kind, want.data)
	}
	if want.kind == "string" {
		if got := s.do("GET", key); got != want.data {
			t.Fatalf("%s is %q, want %q", key, got, want.data)
		}
	}
	s.lives(t, key, s.do("PTTL", key), want.ttl)
}

func (s *scripted) lives(t *rapid.T, what, got string, want int64) {
	ttl, err := strconv.ParseInt(got, 10, 64)
	if err != nil || want < 0 && ttl != want || want >= 0 && (ttl > want || ttl < want-modelSlack) {
		t.Fatalf("%s lives for %s ms, want %d", what, got, want)
	}
}

func (s *scripted) put(t *rapid.T, key string, to *stored, what stored) {
	s.do("DEL", key)
	switch what.kind {
	case "string":
		s.do("SET", key, what.data)
	case "list":
		s.do("RPUSH", key, what.data)
	}
	if what.ttl > 0 {
		s.do("PEXPIRE", key, strconv.FormatInt(what.ttl, 10))
	}
	*to = what
}

// modelled runs a property as a test and as a fuzz target. Each run has keys of its own.
func modelled(property func(t *rapid.T, s *scripted)) func(t testing.TB, conn *rig.Conn) func(*rapid.T) {
	return func(t testing.TB, conn *rig.Conn) func(*rapid.T) {
		namespace := rig.Prefix(t)
		var round atomic.Int64
		return func(t *rapid.T) { property(t, &scripted{conn, fmt.Sprintf("%s:%d:", namespace, round.Add(1))}) }
	}
}

func fuzzModel(f *testing.F, property func(t testing.TB, conn *rig.Conn) func(*rapid.T)) {
	for seed := range uint64(4) {
		b, rng := make([]byte, 8<<10), rand.New(rand.NewPCG(seed, 0))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	run := rapid.MakeFuzz(property(f, rig.Shared(f).Conn(f)))
	f.Fuzz(func(t *testing.T, b []byte) { run(t, b) })
}

// modelLoad is a load that has requested the lease of an entry.
type modelLoad struct {
	entry         int
	token         string
	invalidations int // invalidations of its entry at its begin; -1 without a lease
}

// entryHistory runs the scripts of two entries on the server and on the model, and compares the
// replies.
type entryHistory struct {
	*scripted
	models        [2]entryModel
	keys          [2][]string // of the value, the lease and the outcome
	invalidations [2]int
	loads         []modelLoad
	values        int
}

var entryScripts = modelled(func(t *rapid.T, s *scripted) {
	h := &entryHistory{scripted: s, loads: []modelLoad{{0, strings.Repeat("0", 16), -1}}}
	for i := range h.keys {
		key := s.prefix + fmt.Sprintf("{%d}", i)
		h.keys[i] = []string{key, key + ":lease", key + ":outcome"}
		h.models[i] = entryModel{absent, absent, absent}
	}
	defer func() { s.do(slices.Concat([]string{"DEL"}, h.keys[0], h.keys[1])...) }()
	t.Repeat(rapid.StateMachineActions(h))
})

// Check compares all keys with the model. The key of a long value exists during its script only.
func (h *entryHistory) Check(t *rapid.T) {
	for i, m := range h.models {
		h.is(t, h.keys[i][0], m.value)
		h.is(t, h.keys[i][1], m.lease)
		h.is(t, h.keys[i][2], m.outcome)
		h.is(t, h.longKey(i), absent)
	}
}

// Load requests a lease.
func (h *entryHistory) Load(t *rapid.T) {
	i, d := h.entry(t), someTTL(t)
	l := modelLoad{i, fmt.Sprintf("%016d", len(h.loads)), h.invalidations[i]}
	want := h.models[i].take(l.token, d)
	equal(t, "lease", h.do("SET", h.keys[i][1], l.token, "NX", "GET", "PX", decimal(d)), want)
	if want != "" { // not granted
		l.invalidations = -1
	}
	h.loads = append(h.loads, l)
}

// AnotherLoad makes loads more frequent.
func (h *entryHistory) AnotherLoad(t *rapid.T) { h.Load(t) }

// Fill ends a load with a value.
func (h *entryHistory) Fill(t *rapid.T) {
	l, v, d := h.load(t), h.value(), someTTL(t)
	track := rapid.SampledFrom([]string{"", "1"}).Draw(t, "track")
	want := h.models[l.entry].fill(l.token, v, d)
	keys, arg := h.long(t, l.entry, v)
	equal(t, "fill", h.eval("fill", keys, l.token, arg, decimal(d), track), want)
	if want == "1" && l.invalidations != h.invalidations[l.entry] {
		t.Fatalf("a load that began before an invalidation stored its value")
	}
}

// Free ends a load without a value.
func (h *entryHistory) Free(t *rapid.T) {
	l, drop, d := h.load(t), rapid.Bool().Draw(t, "drop"), someTTL(t)
	arg := map[bool]string{true: "1"}[drop]
	outcome := rapid.SampledFrom([]string{"", "n", "eaway"}).Draw(t, "outcome")
	want := h.models[l.entry].free(l.token, drop, outcome, d)
	equal(t, "free", h.eval("free", h.keys[l.entry], l.token, arg, outcome, decimal(d)), want)
	if want == "1" && outcome != "" && l.invalidations != h.invalidations[l.entry] {
		t.Fatalf("a load that began before an invalidation left an outcome")
	}
}

func (h *entryHistory) Set(t *rapid.T) {
	i, v, d := h.invalidate(t), h.value(), someTTL(t)
	keys, arg := h.long(t, i, v)
	equal(t, "set", h.eval("set", keys, arg, decimal(d)), h.models[i].set(v, d))
}

func (h *entryHistory) Delete(t *rapid.T) {
	i := h.invalidate(t)
	h.models[i].value, h.models[i].lease = absent, absent
	h.do("DEL", h.keys[i][0], h.keys[i][1])
}

func (h *entryHistory) Hold(t *rapid.T) {
	i, d := h.invalidate(t), someTTL(t)
	equal(t, "hold", h.eval("hold", h.keys[i][:2], decimal(d)), h.models[i].hold(d))
}

func (h *entryHistory) Expire(t *rapid.T) {
	i, d := h.invalidate(t), rapid.SampledFrom([]int64{0, 100_000, 1_000_000}).Draw(t, "hold")
	equal(t, "expire", h.eval("expire", h.keys[i][:2], decimal(d)), h.models[i].expire(d))
}

// Crash ends a lease or a hold-down.
func (h *entryHistory) Crash(t *rapid.T) {
	i := h.entry(t)
	h.put(t, h.keys[i][1], &h.models[i].lease, absent)
}

func (h *entryHistory) Evict(t *rapid.T) {
	i := h.entry(t)
	h.put(t, h.keys[i][0], &h.models[i].value, absent)
}

// Foreign writes to a key as another program does.
func (h *entryHistory) Foreign(t *rapid.T) {
	i, what := h.entry(t), stored{"list", "?", rapid.SampledFrom([]int64{-1, 100_000}).Draw(t, "ttl")}
	if rapid.Bool().Draw(t, "lease") {
		h.put(t, h.keys[i][1], &h.models[i].lease, what)
	} else {
		h.put(t, h.keys[i][0], &h.models[i].value, what)
	}
}

func (h *entryHistory) entry(t *rapid.T) int {
	return rapid.IntRange(0, len(h.models)-1).Draw(t, "entry")
}

// invalidate chooses an entry and counts an invalidation of it.
func (h *entryHistory) invalidate(t *rapid.T) int {
	i := h.entry(t)
	h.invalidations[i]++
	return i
}

func (h *entryHistory) load(t *rapid.T) modelLoad {
	return rapid.SampledFrom(h.loads[max(0, len(h.loads)-4):]).Draw(t, "load")
}

// value returns a new value. Some values are shorter than the header of an entry.
func (h *entryHistory) value() string {
	h.values++
	return fmt.Sprintf("value %-*d", 30*(h.values%4), h.values)
}

func (h *entryHistory) longKey(i int) string { return h.keys[i][0] + ":long:a" }

// long returns the keys and the value for a script. Some values are sent in a key of their own.
func (h *entryHistory) long(t *rapid.T, i int, value string) (keys []string, arg string) {
	keys = h.keys[i][:2:2]
	if !rapid.Bool().Draw(t, "long") {
		return keys, value
	}
	h.do("SET", h.longKey(i), value, "PX", "60000")
	return append(keys, h.longKey(i)), ""
}

func someTTL(t *rapid.T) int64 {
	return rapid.SampledFrom([]int64{100_000, 1_000_000, 10_000_000}).Draw(t, "ttl")
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func equal(t *rapid.T, what, got, want string) {
	if got != want {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
}

func TestC1_ScriptsEqualTheirModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, entryScripts(t, rig.Shared(t).Conn(t)))
}

func FuzzC1_ScriptsEqualTheirModel(f *testing.F) { fuzzModel(f, entryScripts) }
