package rig_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
)

// A script of the library that touches a key without a declaration is named with the key. With the
// first line it may touch the key, and a script of a test may touch any key.
func TestUndeclaredKeysNameScriptAndKey(t *testing.T) {
	t.Parallel()
	scripts := &script.Recorder{}
	server, err := embedded.Start(script.WithRecorder(t.Context(), scripts), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	text, err := os.ReadFile("../../events/blocked.lua")
	if err != nil {
		t.Fatal(err)
	}
	if err := do(client, "ZADD", "retry", "1", "ada"); err != nil {
		t.Fatal(err)
	}
	run := func(source string) {
		if err := do(client, "EVAL", source, "3", "retry", "tries", "parked:", "10", "100"); err != nil {
			t.Fatal(err)
		}
	}
	run(script.UndeclaredKeys + string(text))
	run("return redis.call('EXISTS', 'x')")
	if problems, err := rig.UndeclaredKeys(scripts); err != nil || len(problems) > 0 {
		t.Errorf("the first line allows the key, and a test may use any: %q, %v", problems, err)
	}

	run(string(text))
	problems, err := rig.UndeclaredKeys(scripts)
	if err != nil {
		t.Fatal(err)
	}
	named := func(problem string) bool {
		return strings.HasPrefix(problem, "events/blocked.lua touches the key \"parked:ada\"")
	}
	if len(problems) != 1 || !slices.ContainsFunc(problems, named) {
		t.Errorf("%q, want events/blocked.lua and parked:ada", problems)
	}
}
