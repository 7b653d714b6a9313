package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/limitview"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// The state that a script stores is decoded in two places: by the script, and by the view of
// package inspect. The view must show what the models of the scripts know, after each charge and
// refund and at any later time.
func TestR3_TheViewEqualsTheModels(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	c := clientcore.Of(client)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	for round := range rounds(6) {
		for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
			rules := randomRules(rng, a)
			v := ratelimit.NewVirtualTime(a, rules...)
			m := newPlanModel(a, v.Names(), rules)
			key := fmt.Sprintf("%s:{view-%d-%d}", rig.Prefix(t), round, a)
			now := int64(1_800_000_000_000_000)
			for range 40 {
				n := 1 + rng.Int64N(least(rules))
				if rng.IntN(5) == 0 {
					n = -n
				}
				_, err := v.Run(t.Context(), c, key, now, n)
				if err != nil {
					t.Fatal(err)
				}
				m.call(now, n)
				state := stored(t, c, key)
				for range 3 {
					if text := differs(a, v, m, state, now); text != "" {
						t.Fatalf("%v %+v at %d, state %q: %s", a, rules, now, state, text)
					}
					now += rng.Int64N(rules[0].Window.Microseconds()/2 + 1)
				}
			}
		}
	}
}

// stored returns the state of a key; "" if there is none.
func stored(t *testing.T, c *core.Core, key string) string {
	t.Helper()
	msg, err := c.Do(t.Context(), core.Read("GET", key))
	if err != nil {
		t.Fatal(err)
	}
	if msg.IsNil() {
		return ""
	}
	text, err := msg.ToString()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// differs compares the view of a state with the models of its rules. It returns "" if they are
// equal.
func differs(a ratelimit.Algorithm, v ratelimit.VirtualTime, m *planModel, state string, now int64) string {
	slots := map[string]limitview.Slot{}
	if state != "" {
		all, ok := ratelimit.ViewSlots(a, state, now)
		if !ok {
			return "the view does not read the state"
		}
		for _, s := range all {
			slots[s.ID] = s
		}
		if len(all) > len(m.rules) || len(slots) != len(all) {
			return fmt.Sprintf("%d slots, %d of them different, for %d rules", len(all), len(slots), len(m.rules))
		}
	}
	for i, id := range v.IDs() {
		_, reset := m.rules[i].look(now)
		ends := time.Duration(reset) * time.Microsecond
		s, count := slots[id], int64(0)
		switch w, isWindow := m.rules[i].(*windowModel); {
		case !isWindow:
			if s.ID != "" {
				count = -1
			}
		case s.Ends > 0:
			count = w.counts[w.newest]
			if w.slides && count == 0 {
				ends = s.Ends // the end of the window before is not stored
			}
		}
		if s.Ends != ends || s.Count != count {
			return fmt.Sprintf("rule %d: the view has %+v, the model %d tokens that end in %v", i, s, count, ends)
		}
	}
	return ""
}
