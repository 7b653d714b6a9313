package redstarttest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/redstarttest"
)

// Two servers of one test, and of parallel tests, share nothing. Two clients of one server share
// its data.
func TestServersAreSeparate(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		one, two := redstarttest.Start(t), redstarttest.Start(t)
		values := func(client *redstart.Client) *cache.Cache[string] {
			c, err := cache.New[string](client, "names", cache.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if err := values(one.Client()).Set(t.Context(), "1", "Ada"); err != nil {
			t.Fatal(err)
		}
		for client, want := range map[*redstart.Client]error{one.Client(): nil, open(t, one): nil, two.Client(): cache.ErrNotFound} {
			if _, err := values(client).Get(t.Context(), "1"); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	})
}

// A namespace on a real server is empty after the test. During the test, it is not.
func TestRealServerIsCleanedUp(t *testing.T) {
	shared := rig.Shared(t)
	t.Setenv("REDSTART_TEST_URL", shared.URL())
	keys := func(namespace string) string { return shared.CLI("KEYS", namespace+":*") }
	namespace := ""
	t.Run("test", func(t *testing.T) {
		server := redstarttest.Start(t)
		namespace = server.Config().Namespace
		names, err := cache.New[string](server.Client(), "names", cache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			if err := names.Set(t.Context(), fmt.Sprint(i), "Ada"); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(keys(namespace), "\n"); n < 900 {
			t.Errorf("%d keys during the test", n)
		}
	})
	if left := keys(namespace); left != "" {
		t.Errorf("keys are left: %.200s", left)
	}
}

func TestStartMisuse(t *testing.T) {
	for url, part := range map[string]string{
		"rediss://127.0.0.1:6379": "without TLS", "redis+cluster://a:1,b:2": "one server", "127.0.0.1:6379": "redis://",
	} {
		t.Setenv("REDSTART_TEST_URL", url)
		wantFailure(t, func(t testing.TB) { redstarttest.Start(t) }, "REDSTART_TEST_URL", part)
	}
	t.Setenv("REDSTART_TEST_URL", "")
	synctest.Test(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		wantFailure(t, func(spy testing.TB) { server.On(spy).URL() }, "bubble", "Config")
	})
}

// Keys with a TTL pass, a key without one is named, and an exception is an exception.
func TestRequireNoKeysWithoutTTL(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		names, err := cache.New[string](server.Client(), "names", cache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := names.Set(t.Context(), "1", "Ada"); err != nil {
			t.Fatal(err)
		}
		server.RequireNoKeysWithoutTTL()
		c := redis(t, server.Client())
		key := server.Config().Namespace + ":stays"
		if err := c.Do(t.Context(), c.B().Set().Key(key).Value("1").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, func(spy testing.TB) { server.On(spy).RequireNoKeysWithoutTTL() }, key, "set a TTL")
		wantFailure(t, func(spy testing.TB) { server.On(spy).RequireNoKeysWithoutTTL("other", "tays") }, key)
		server.RequireNoKeysWithoutTTL("other", "stays")
	})
}

// After Settle, a load that continues after its caller has left is done, and an invalidation of
// another process has emptied the near cache.
func TestSettle(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		near := cache.Options{Near: cache.NearOptions{MaxEntries: 10}}
		here, err := cache.New[string](server.Client(), "names", near)
		if err != nil {
			t.Fatal(err)
		}
		there, err := cache.New[string](server.Client(), "names", near)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			name := fmt.Sprint("Ada ", i)
			if err := there.Set(t.Context(), "1", name); err != nil {
				t.Fatal(err)
			}
			server.Settle()
			if got, err := here.Get(t.Context(), "1"); err != nil || got != name {
				t.Fatalf("after Settle, the other process has %q, %v, want %q", got, err, name)
			}
		}

		ctx, leave := context.WithCancel(t.Context())
		release, loaded := make(chan struct{}), false
		result := make(chan error, 1)
		go func() {
			_, err := here.GetOrLoad(ctx, "2", func(context.Context, string) (string, error) {
				leave()
				<-release
				loaded = true
				return "Bob", nil
			})
			result <- err
		}()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Fatalf("the caller that left has %v", err)
		}
		settled := make(chan struct{})
		go func() {
			defer close(settled)
			server.Settle()
		}()
		select {
		case <-settled:
			t.Error("Settle returned while the load ran")
		case <-time.After(50 * time.Millisecond):
		}
		close(release)
		<-settled
		if !loaded {
			t.Error("the load has not ended")
		}
	})
}
