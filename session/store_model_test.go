package session_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
)

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
