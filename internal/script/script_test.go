package script_test

import (
	"context"
	"crypto/sha1"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
)

func TestMain(m *testing.M) { rig.Main(m) }

func TestDigestEqualsTheServersDigest(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	for _, source := range []string{"return 1", "", "return '\u00e9\x00'"} {
		s := script.New(source)
		if want := fmt.Sprintf("%x", sha1.Sum([]byte(source))); s.Digest() != want || s.Source() != source || s.IsReadOnly() {
			t.Errorf("%q: digest %s, want %s", source, s.Digest(), want)
		}
		if source != "" {
			if named := strings.TrimSpace(server.CLI("SCRIPT", "LOAD", source)); named != s.Digest() {
				t.Errorf("%q: the server's digest is %s, ours %s", source, named, s.Digest())
			}
		}
	}
	if !script.ReadOnly("return 1").IsReadOnly() {
		t.Error("IsReadOnly is false for a read-only script")
	}
}

// A server forgets its scripts repeatedly, in the middle of pipelines. Every call runs exactly
// once.
func TestForgottenScriptsRunOnce(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	e, err := endpoint.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := core.Open(t.Context(), core.Options{Endpoint: e, Namespace: "app", ClientName: "redstart", PoolSize: 10,
		CommandTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	add := script.New("return redis.call('INCRBY', KEYS[1], ARGV[1])")
	ctx, stop := context.WithCancel(t.Context())
	var flushing sync.WaitGroup
	flushing.Go(func() {
		for ctx.Err() == nil {
			server.CLI("SCRIPT", "FLUSH", "SYNC")
		}
	})
	const callers, rounds, calls = 4, 30, 50
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for range rounds {
				all := make([]core.Call, calls)
				for i := range all {
					all[i] = core.Call{Keys: []string{"app:n"}, Args: []string{"1"}}
				}
				for _, r := range c.EvalMulti(t.Context(), add, all) {
					if _, err := r.Get(); err != nil {
						t.Error(err)
						return
					}
				}
				if _, err := c.Eval(t.Context(), add, []string{fmt.Sprint("app:own", w)}, []string{"1"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	stop()
	flushing.Wait()
	if got := strings.TrimSpace(server.CLI("GET", "app:n")); got != fmt.Sprint(callers*rounds*calls) {
		t.Errorf("%s calls were made, want %d", got, callers*rounds*calls)
	}
	for w := range callers {
		if got := strings.TrimSpace(server.CLI("GET", fmt.Sprint("app:own", w))); got != fmt.Sprint(rounds) {
			t.Errorf("caller %d: %s single calls were made, want %d", w, got, rounds)
		}
	}
}
