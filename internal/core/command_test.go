package core_test

import (
	"fmt"
	"testing"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// A command goes to the node of its key, at any place among its arguments. Another node would
// answer MOVED, which counts as one more command there.
func TestCommandsGoToTheNodeOfTheirKey(t *testing.T) {
	t.Parallel()
	c := open(t, rig.SharedCluster(t).URL())
	for i := range 30 {
		stream, text := fmt.Sprintf("%s:{%d}:stream", rig.Prefix(t), i), "a\r\n\x00$1\r\n{b}"
		for _, step := range []struct {
			cmd  core.Command
			want string
		}{
			{core.Write("XADD", stream, "1-1", "field", text), "1-1"},
			{core.Read("TYPE", stream), "stream"},
			{core.ReadAt(stream, "OBJECT", "ENCODING", stream), "stream"},
			{core.WriteAt(stream, "XGROUP", "CREATE", stream, "group", "0"), "OK"},
			{core.Write("RENAME", stream, stream+"2"), "OK"},
			{core.ReadAt("", "ECHO", text), text},
		} {
			reply, err := c.DoOnce(t.Context(), step.cmd)
			if err != nil {
				t.Fatalf("%v: %v", step.cmd, err)
			}
			if got, err := reply.ToString(); got != step.want || err != nil {
				t.Fatalf("%v: %q, %v, want %q", step.cmd, got, err, step.want)
			}
		}
	}
}

// A read of one key allocates only its reply.
func TestReadAllocatesOnlyItsReply(t *testing.T) {
	c := open(t, rig.Shared(t).URL())
	key := rig.Prefix(t) + ":k"
	if _, err := c.Do(t.Context(), core.Write("SET", key, "value")); err != nil {
		t.Fatal(err)
	}
	read := func() {
		if _, err := c.Do(t.Context(), core.Read("GET", key)); err != nil {
			t.Fatal(err)
		}
	}
	if allocs := testing.AllocsPerRun(1000, read); allocs > 1 {
		t.Errorf("a read allocates %v times, want once", allocs)
	}
}
