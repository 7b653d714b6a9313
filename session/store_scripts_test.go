package session_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// A save after the deletion stores nothing, as long as the tombstone exists.
func TestS1_StoreScripts(t *testing.T) {
	t.Parallel()
	s := newScripted(rig.Shared(t).Conn(t), rig.Prefix(t)+":{session}")
	now := int64(4_000_000_000_000) // ms
	for i, step := range []struct {
		after, late int64 // ms: since the previous step, and the time that passes while the script runs
		script      string
		value       string
		ms          int64
		reply, want string // the stored value and its TTL from this step on
	}{
		{0, 0, "commit", "2La", 500, "1", " 2La 500"},
		{1, 0, "commit", "2Lb", 60_000, "1", " 2Lb 60000"},
		{60_001, 7, "commit", "2Lc", 500, "1", " 2Lc 507"},
		{1, 0, "delete", "", 500, "1", " 2T 500"},
		{499, 0, "commit", "2Ld", 500, "0", " 2T 1"},
		{0, 0, "delete", "", 500, "1", " 2T 500"},
		{501, 0, "commit", "2Le", 500, "1", " 2Le 500"},
		{501, 7, "delete", "", 1, "1", " 2T 8"},
		{8, 0, "commit", "2L", 1, "0", " 2T 0"},
	} {
		now += step.after
		s.set(t, now*1000, step.late)
		s.look(t, now, s.index) // deletes expired keys
		args := []string{step.value, strconv.FormatInt(step.ms, 10)}
		if step.script == "delete" {
			args = args[1:]
		}
		if got := s.eval(t, step.script, []string{s.index}, args...); got != step.reply {
			t.Errorf("step %d: %s returns %q, want %q", i, step.script, got, step.reply)
		}
		var value string
		var left int64
		if _, err := fmt.Sscan(step.want, &value, &left); err != nil {
			t.Fatal(err)
		}
		if got, want := s.look(t, now, s.index), fmt.Sprintf(" %s %d", value, now+left); got != want {
			t.Errorf("step %d: %q is stored, want %q", i, got, want)
		}
	}
}
