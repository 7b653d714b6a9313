package cache_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
)

// generationModel is the model of a generation, a key with eight bytes.
type generationModel struct{ stored }

func (m *generationModel) ask(fresh string, need, life int64) (gen string, ttl int64) {
	switch {
	case m.kind != "string" || len(m.data) != 8:
		m.stored = stored{"string", fresh, life}
	case m.ttl < need: // also if there is no TTL
		m.ttl = life
	}
	return m.data, m.ttl
}

// generationHistory runs the script of generations for two tags on the server and on the model.
type generationHistory struct {
	*scripted
	models [2]generationModel
	keys   [2]string
	asked  int
	lost   [2]map[string]bool // generations that were invalidated while an entry may have had them
}

var generationScript = modelled(func(t *rapid.T, s *scripted) {
	h := &generationHistory{
		scripted: s,
		models:   [2]generationModel{{absent}, {absent}},
		keys:     [2]string{s.prefix + "{a}:tag", s.prefix + "{b}:tag"},
		lost:     [2]map[string]bool{{}, {}},
	}
	defer func() { s.do("DEL", h.keys[0], h.keys[1]) }()
	t.Repeat(rapid.StateMachineActions(h))
})

func (h *generationHistory) Check(t *rapid.T) {
	for i := range h.models {
		h.is(t, h.keys[i], h.models[i].stored)
	}
}

// Ask reads a generation, which the script creates or prolongs if it must.
func (h *generationHistory) Ask(t *rapid.T) {
	i := h.tag(t)
	need := rapid.SampledFrom([]int64{1, 300_000, 3_000_000}).Draw(t, "need")
	life := rapid.SampledFrom([]int64{4_000_000, 10_000_000}).Draw(t, "life")
	h.asked++
	created := fmt.Sprintf("%08d", h.asked)
	gen, ttl := h.models[i].ask(created, need, life)
	began := time.Now().UnixMilli()
	reply := strings.Split(h.eval("generation", []string{h.keys[i]}, created, decimal(need), decimal(life)), "\n")
	if len(reply) != 3 || reply[0] != gen {
		t.Fatalf("ask: %q, want %q", reply, gen)
	}
	h.lives(t, "the generation of the reply", reply[1], ttl)
	if now, err := strconv.ParseInt(reply[2], 10, 64); err != nil || now < began-1 || now > time.Now().UnixMilli()+1 {
		t.Fatalf("the time is %s", reply[2])
	}
	if h.lost[i][gen] {
		t.Fatalf("generation %q is back", gen)
	}
}

// Lose removes a generation, as an invalidation or an eviction does.
func (h *generationHistory) Lose(t *rapid.T) {
	i := h.lose(t)
	h.put(t, h.keys[i], &h.models[i].stored, absent)
}

// Foreign writes to a key as another program does.
func (h *generationHistory) Foreign(t *rapid.T) {
	i := h.lose(t)
	h.put(t, h.keys[i], &h.models[i].stored, rapid.SampledFrom([]stored{
		{"list", "?", -1}, {"list", "?", 100_000}, {"string", "short", -1},
		{"string", "longer than eight", 100_000}, {"string", "", 100_000},
	}).Draw(t, "what"))
}

// Age shortens or removes the TTL of a generation.
func (h *generationHistory) Age(t *rapid.T) {
	i := h.tag(t)
	if h.models[i].kind != "string" {
		return
	}
	h.models[i].ttl = rapid.SampledFrom([]int64{100_000, 1_000_000, -1}).Draw(t, "left")
	if h.models[i].ttl < 0 {
		h.do("PERSIST", h.keys[i])
	} else {
		h.do("PEXPIRE", h.keys[i], decimal(h.models[i].ttl))
	}
}

func (h *generationHistory) tag(t *rapid.T) int {
	return rapid.IntRange(0, len(h.models)-1).Draw(t, "tag")
}

// lose chooses a tag and notes that its generation must not come back.
func (h *generationHistory) lose(t *rapid.T) int {
	i := h.tag(t)
	if h.models[i].kind == "string" {
		h.lost[i][h.models[i].data] = true
	}
	return i
}

func TestC6_ScriptEqualsItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, generationScript(t, rig.Shared(t).Conn(t)))
}

func FuzzC6_ScriptEqualsItsModel(f *testing.F) { fuzzModel(f, generationScript) }
