package redstart_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// A client, its patterns and the embedded engine live in a bubble: an hour of leases, TTLs and pushes passes at once.
func TestClientInASynctestBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, err := embedded.Start(t.Context(), embedded.Options{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Dialer: server.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()

		locker, err := lock.New(client, lock.Options{TTL: 10 * time.Second, Wait: lock.WaitForever})
		if err != nil {
			t.Fatal(err)
		}
		users, err := cache.New[int](client, "numbers", cache.Options{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		loads := 0
		read := func() {
			t.Helper()
			if _, err := users.GetOrLoad(t.Context(), "n", func(context.Context, string) (int, error) { loads++; return loads, nil }); err != nil {
				t.Fatal(err)
			}
		}

		held, err := locker.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		var waited time.Duration
		var waiter sync.WaitGroup
		waiter.Go(func() {
			began := time.Now()
			next, err := locker.Acquire(context.Background(), "n")
			if waited = time.Since(began); err != nil {
				t.Error(err)
				return
			}
			if err := next.Release(context.Background()); err != nil {
				t.Error(err)
			}
		})
		read()
		read()
		time.Sleep(time.Hour)
		read()
		if loads != 2 {
			t.Errorf("%d loads of a value that lasts for a minute, in an hour with reads at its start and its end", loads)
		}
		if renewals := locker.Stats().Renewals; held.Err() != nil || renewals < 900 {
			t.Errorf("a lock of 10 s was renewed %d times in an hour: %v", renewals, held.Err())
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
		waiter.Wait()
		if waited < time.Hour || waited > time.Hour+time.Second {
			t.Errorf("the next holder waited for %v", waited)
		}
	})
}

// TestDialer: what a Dialer does wrong is an error of Open, within the command timeout.
func TestDialer(t *testing.T) {
	t.Parallel()
	server := rig.Embedded(t)
	refused := errors.New("the tunnel is closed")
	for want, dialer := range map[string]func(context.Context, string, string) (net.Conn, error){
		"the tunnel is closed":         func(context.Context, string, string) (net.Conn, error) { return nil, refused },
		"Config.Dialer panicked: boom": func(context.Context, string, string) (net.Conn, error) { panic("boom") },
		"neither a connection":         func(context.Context, string, string) (net.Conn, error) { return nil, nil },
	} {
		client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Dialer: dialer})
		if !errors.Is(err, redstart.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err == nil {
			client.Close()
		}
	}

	var mu sync.Mutex
	seen := map[string]int{}
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		seen[network+" "+addr]++
		mu.Unlock()
		return server.Dial(ctx, network, addr)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if redis := client.Redis(); redis == nil {
		t.Error("the client of the user's commands has no connection")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 1 || seen["tcp "+server.Addr()] < 2 {
		t.Errorf("dialled: %v", seen)
	}
}
