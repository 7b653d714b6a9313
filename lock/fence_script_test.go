package lock_test

import (
	"strconv"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestFenceScript: a token below the greatest one writes nothing. The greatest token may write
// again.
func TestFenceScript(t *testing.T) {
	t.Parallel()
	conn, key := rig.Shared(t).Conn(t), rig.Prefix(t)+":{f}"
	const largest = 1 << 52
	for i, step := range []struct {
		token                int64
		value, reply, stored string
	}{
		{5, "a", "1", "a"},
		{4, "b", "0", "a"},
		{5, "c", "1", "c"},
		{6, "", "1", ""},
		{5, "d", "0", ""},
		{10, "e", "1", "e"}, // a greater number, although its text is less than "6"
		{9, "f", "0", "e"},
		{largest - 1, "g", "1", "g"},
		{largest, "h", "1", "h"},
		{largest - 1, "i", "0", "h"},
	} {
		token := strconv.FormatInt(step.token, 10)
		if got := conn.CLI("EVAL", lock.Sources("")["fence"], "1", key, token, step.value, "60000"); got != step.reply {
			t.Errorf("step %d: token %s answers %q, want %q", i, token, got, step.reply)
		}
		if got := conn.CLI("HGET", key, "v"); got != step.stored {
			t.Errorf("step %d: %q is stored, want %q", i, got, step.stored)
		}
	}
	if ttl, err := strconv.Atoi(conn.CLI("PTTL", key)); err != nil || ttl < 1 || ttl > 60_000 {
		t.Errorf("it lives for %d ms, want up to 60000 (%v)", ttl, err)
	}
}
