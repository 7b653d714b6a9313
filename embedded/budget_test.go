package embedded_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
)

// start runs a server with the given options.
func start(t *testing.T, opts embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// An endless script ends with an error after Options.ScriptTimeout, and other commands continue.
func TestScriptTimeLimit(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{ScriptTimeout: 50 * time.Millisecond})
	client, other := connect(t, s.URL()), connect(t, s.URL())
	for _, script := range []string{
		"while true do end",
		"local function f() while true do end end while true do pcall(f) end",
		"while true do redis.call('SET', KEYS[1], 1) end",
		"while true do redis.pcall('GET', 1, 2) end",
	} {
		_, err := try(client, "EVAL", script, "1", "k")
		if err == nil || !strings.Contains(err.Error(), "longer than 50ms") {
			t.Errorf("%s: %v", script, err)
		}
		do(t, other, "PING")
	}
	if got := do(t, client, "EVAL", "local n = 0 for i = 1, 1000 do n = n + i end return n", "0"); got != int64(500500) {
		t.Errorf("a script after them = %v", got)
	}
}

// SCRIPT KILL ends a script that has written nothing. It does not end a script that has written.
func TestScriptKill(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{ScriptTimeout: time.Hour})
	client, other := connect(t, s.URL()), connect(t, s.URL())
	if _, err := try(other, "SCRIPT", "KILL"); err == nil || !strings.HasPrefix(err.Error(), "NOTBUSY") {
		t.Fatalf("SCRIPT KILL without a script: %v", err)
	}
	result := make(chan error, 1)
	run := func(script string) {
		_, err := try(client, "EVAL", script, "1", "k")
		result <- err
	}
	go run("redis.call('GET', KEYS[1]) while true do end")
	rig.Eventually(t, 10*time.Second, "the script is killed", func() bool { return killed(other) == "" })
	if err := <-result; err == nil || !strings.Contains(err.Error(), "SCRIPT KILL") {
		t.Errorf("the script that was killed: %v", err)
	}
	go run("redis.call('SET', KEYS[1], 1) while true do end")
	rig.Eventually(t, 10*time.Second, "the script that has written is not killed", func() bool {
		return strings.HasPrefix(killed(other), "UNKILLABLE")
	})
	s.Close()
	if err := <-result; err == nil {
		t.Error("a script without an end has returned")
	}
}

func killed(client rueidis.Client) string {
	if _, err := try(client, "SCRIPT", "KILL"); err != nil {
		return err.Error()
	}
	return ""
}

// Close ends a running script and does not wait for its time limit.
func TestCloseEndsAScript(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Options{ScriptTimeout: time.Hour})
	client, other := connect(t, s.URL()), connect(t, s.URL())
	result := make(chan error, 1)
	go func() {
		_, err := try(client, "EVAL", "redis.call('SET', KEYS[1], 1) while true do end", "1", "k")
		result <- err
	}()
	rig.Eventually(t, 10*time.Second, "the script runs", func() bool { return strings.HasPrefix(killed(other), "UNKILLABLE") })
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close waits for an endless script")
	}
	<-result
}

// One instruction of a script can neither end the process nor fill its memory.
func TestScriptsAreBounded(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	for script, want := range map[string]string{
		"local t = {} t[1] = t return t":                                    "excessive nesting",
		"local t = {} t[1] = t t[2] = t return cjson.encode(t)":             "excessive nesting",
		"return #string.rep('x', 1e15)":                                     "too large",
		"local function f(n) return 1 + f(n + 1) end return f(1)":           "stack overflow",
		"local t = {} for i = 1, 100 do t = {t} end return cjson.encode(t)": "",
	} {
		_, err := try(client, "EVAL", script, "0")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// In a bubble time stands still while a script runs. The number of its instructions ends it.
func TestScriptLimitInASynctestBubble(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	synctest.Test(t, func(t *testing.T) {
		s := start(t, embedded.Options{InMemory: true})
		client, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{s.Addr()}, DisableCache: true, ForceSingleClient: true,
			DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
				return s.Dial(ctx, "tcp", addr)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := try(client, "EVAL", "while true do end", "0"); err == nil || !strings.Contains(err.Error(), "script ended") {
			t.Errorf("an endless script: %v", err)
		}
	})
}
