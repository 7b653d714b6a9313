package cache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// recordModel is the model of a generation.
type recordModel struct{ stored }

func (m *recordModel) ask(fresh string, need, life int64) (gen string, ttl int64) {
	switch {
	case m.kind != "string" || len(m.data) != 8:
		m.stored = stored{"string", fresh, life}
	case m.ttl < need: // also if there is no TTL
		m.ttl = life
	}
	return m.data, m.ttl
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
func modelled(property func(t *rapid.T, s *scripted)) func(t *testing.T, conn *rig.Conn) func(*rapid.T) {
	return func(t *testing.T, conn *rig.Conn) func(*rapid.T) {
		namespace := rig.Prefix(t)
		var round atomic.Int64
		return func(t *rapid.T) { property(t, &scripted{conn, fmt.Sprintf("%s:%d:", namespace, round.Add(1))}) }
	}
}

func fuzzModel(f *testing.F, property func(t *testing.T, conn *rig.Conn) func(*rapid.T)) {
	for seed := range uint64(4) {
		b, rng := make([]byte, 8<<10), rand.New(rand.NewPCG(seed, 0))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rapid.MakeFuzz(property(t, rig.Shared(t).Conn(t)))(t, b)
	})
}

var entryScripts = modelled(func(t *rapid.T, s *scripted) {
	type load struct {
		entry         int
		token         string
		invalidations int // invalidations of its entry at its begin
	}
	models := [2]entryModel{{absent, absent, absent}, {absent, absent, absent}}
	keys := [2][]string{}
	var invalidations [2]int
	for i := range keys {
		keys[i] = []string{s.prefix + fmt.Sprintf("{%d}", i), s.prefix + fmt.Sprintf("{%d}:lease", i),
			s.prefix + fmt.Sprintf("{%d}:outcome", i)}
	}
	defer func() { s.do(append([]string{"DEL"}, append(keys[0], keys[1]...)...)...) }()
	loads := []load{{0, strings.Repeat("0", 16), -1}} // the first one has no lease
	values := 0
	entry := func(t *rapid.T) int { return rapid.IntRange(0, len(models)-1).Draw(t, "entry") }
	ttl := func(t *rapid.T) int64 {
		return rapid.SampledFrom([]int64{100_000, 1_000_000, 10_000_000}).Draw(t, "ttl")
	}
	text := func(n int64) string { return strconv.FormatInt(n, 10) }
	value := func() string { // some are shorter than an entry's header
		values++
		return fmt.Sprintf("value %-*d", 30*(values%4), values)
	}
	own := [2]string{s.prefix + "{0}:long:a", s.prefix + "{1}:long:a"}
	long := func(t *rapid.T, names []string, value string) ([]string, string) { // a long value has a key of its own
		if !rapid.Bool().Draw(t, "long") {
			return names, value
		}
		name := names[0] + ":long:a"
		s.do("SET", name, value, "PX", "60000")
		return append(slices.Clone(names), name), ""
	}
	some := func(t *rapid.T) load { return rapid.SampledFrom(loads[max(0, len(loads)-4):]).Draw(t, "load") }
	check := func(t *rapid.T, what, got, want string) {
		if got != want {
			t.Fatalf("%s: %q, want %q", what, got, want)
		}
	}
	begin := func(t *rapid.T) { // a load requests its lease
		i, d := entry(t), ttl(t)
		l := load{i, fmt.Sprintf("%016d", len(loads)), invalidations[i]}
		want := models[i].take(l.token, d)
		check(t, "lease", s.do("SET", keys[i][1], l.token, "NX", "GET", "PX", text(d)), want)
		if loads = append(loads, l); want != "" {
			loads[len(loads)-1].invalidations = -1 // not granted
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			for i, m := range models {
				s.is(t, keys[i][0], m.value)
				s.is(t, keys[i][1], m.lease)
				s.is(t, keys[i][2], m.outcome)
				s.is(t, own[i], absent)
			}
		},
		"load":         begin,
		"another load": begin,
		"fill": func(t *rapid.T) {
			l, v, d := some(t), value(), ttl(t)
			track := rapid.SampledFrom([]string{"", "1"}).Draw(t, "track")
			want := models[l.entry].fill(l.token, v, d)
			names, arg := long(t, keys[l.entry][:2], v)
			check(t, "fill", s.eval("fill", names, l.token, arg, text(d), track), want)
			if want == "1" && l.invalidations != invalidations[l.entry] {
				t.Fatalf("a load that began before an invalidation stored its value")
			}
		},
		"free": func(t *rapid.T) {
			l, drop, d := some(t), rapid.Bool().Draw(t, "drop"), ttl(t)
			arg := map[bool]string{true: "1"}[drop]
			outcome := rapid.SampledFrom([]string{"", "n", "eaway"}).Draw(t, "outcome")
			want := models[l.entry].free(l.token, drop, outcome, d)
			check(t, "free", s.eval("free", keys[l.entry], l.token, arg, outcome, text(d)), want)
			if want == "1" && outcome != "" && l.invalidations != invalidations[l.entry] {
				t.Fatalf("a load that began before an invalidation left an outcome")
			}
		},
		"set": func(t *rapid.T) {
			i, v, d := entry(t), value(), ttl(t)
			invalidations[i]++
			names, arg := long(t, keys[i][:2], v)
			check(t, "set", s.eval("set", names, arg, text(d)), models[i].set(v, d))
		},
		"delete": func(t *rapid.T) {
			i := entry(t)
			invalidations[i]++
			models[i].value, models[i].lease = absent, absent
			s.do("DEL", keys[i][0], keys[i][1])
		},
		"hold": func(t *rapid.T) {
			i, d := entry(t), ttl(t)
			invalidations[i]++
			check(t, "hold", s.eval("hold", keys[i][:2], text(d)), models[i].hold(d))
		},
		"expire": func(t *rapid.T) {
			i, d := entry(t), rapid.SampledFrom([]int64{0, 100_000, 1_000_000}).Draw(t, "hold")
			invalidations[i]++
			check(t, "expire", s.eval("expire", keys[i][:2], text(d)), models[i].expire(d))
		},
		"crash": func(t *rapid.T) { // the lease or the hold-down ends
			i := entry(t)
			s.put(t, keys[i][1], &models[i].lease, absent)
		},
		"evict": func(t *rapid.T) {
			i := entry(t)
			s.put(t, keys[i][0], &models[i].value, absent)
		},
		"foreign": func(t *rapid.T) { // another program writes to these keys
			i, what := entry(t), stored{"list", "?", rapid.SampledFrom([]int64{-1, 100_000}).Draw(t, "ttl")}
			if rapid.Bool().Draw(t, "lease") {
				s.put(t, keys[i][1], &models[i].lease, what)
			} else {
				s.put(t, keys[i][0], &models[i].value, what)
			}
		},
	})
})

func TestC1_ScriptsEqualTheirModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, entryScripts(t, rig.Shared(t).Conn(t)))
}

func FuzzC1_ScriptsEqualTheirModel(f *testing.F) { fuzzModel(f, entryScripts) }

var recordScript = modelled(func(t *rapid.T, s *scripted) {
	models := [2]recordModel{{absent}, {absent}}
	keys := [2]string{s.prefix + "{a}:tag", s.prefix + "{b}:tag"}
	defer func() { s.do("DEL", keys[0], keys[1]) }()
	gens := 0
	lost := [2]map[string]bool{{}, {}} // generations under which an entry may be stored and was invalidated
	record := func(t *rapid.T) int { return rapid.IntRange(0, len(models)-1).Draw(t, "record") }
	lose := func(i int) {
		if models[i].kind == "string" {
			lost[i][models[i].data] = true
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			for i := range models {
				s.is(t, keys[i], models[i].stored)
			}
		},
		"ask": func(t *rapid.T) {
			i := record(t)
			need := rapid.SampledFrom([]int64{1, 300_000, 3_000_000}).Draw(t, "need")
			life := rapid.SampledFrom([]int64{4_000_000, 10_000_000}).Draw(t, "life")
			gens++
			gen, ttl := models[i].ask(fmt.Sprintf("%08d", gens), need, life)
			began := time.Now().UnixMilli()
			reply := strings.Split(s.eval("generation", []string{keys[i]}, fmt.Sprintf("%08d", gens),
				strconv.FormatInt(need, 10), strconv.FormatInt(life, 10)), "\n")
			if len(reply) != 3 || reply[0] != gen {
				t.Fatalf("ask: %q, want %q", reply, gen)
			}
			s.lives(t, "the generation that was answered", reply[1], ttl)
			if now, err := strconv.ParseInt(reply[2], 10, 64); err != nil || now < began-1 || now > time.Now().UnixMilli()+1 {
				t.Fatalf("the time is %s", reply[2])
			}
			if lost[i][gen] {
				t.Fatalf("generation %q is back", gen)
			}
		},
		"lose": func(t *rapid.T) { // an invalidation, or an eviction
			i := record(t)
			lose(i)
			s.put(t, keys[i], &models[i].stored, absent)
		},
		"foreign": func(t *rapid.T) {
			i := record(t)
			lose(i)
			s.put(t, keys[i], &models[i].stored, rapid.SampledFrom([]stored{
				{"list", "?", -1}, {"list", "?", 100_000}, {"string", "short", -1},
				{"string", "longer than eight", 100_000}, {"string", "", 100_000},
			}).Draw(t, "what"))
		},
		"age": func(t *rapid.T) { // its TTL decreases
			if i := record(t); models[i].kind == "string" {
				models[i].ttl = rapid.SampledFrom([]int64{100_000, 1_000_000, -1}).Draw(t, "left")
				if models[i].ttl < 0 {
					s.do("PERSIST", keys[i])
				} else {
					s.do("PEXPIRE", keys[i], strconv.FormatInt(models[i].ttl, 10))
				}
			}
		},
	})
})

func TestC6_ScriptEqualsItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, recordScript(t, rig.Shared(t).Conn(t)))
}

func FuzzC6_ScriptEqualsItsModel(f *testing.F) { fuzzModel(f, recordScript) }
