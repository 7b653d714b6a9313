package guides_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
)

// testClient returns a client on a server of its own, which ends with the test. Tests can run in
// parallel.
func testClient(t *testing.T) (*redstart.Client, *embedded.Server) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

// The unit under test gets a real client. There is nothing to mock.
func TestShelfForgetsAnOldPrice(t *testing.T) {
	t.Parallel()
	client, _ := testClient(t)
	shelf, err := NewShelf(client, rows{"pen": {"Pen", "Acme", 120}}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}

	for _, cents := range []int{120, 150} {
		if err := shelf.SetPrice(t.Context(), "pen", cents); err != nil {
			t.Fatal(err)
		}
		if product, err := shelf.Product(t.Context(), "pen"); err != nil || product.Cents != cents {
			t.Errorf("got %d cents, %v, want %d", product.Cents, err, cents)
		}
	}
}

// Advance moves the server's clock, so that no test sleeps until a TTL has ended.
func TestLimitIsFreeAfterAnHour(t *testing.T) {
	t.Parallel()
	client, server := testClient(t)
	limiter, err := ratelimit.New(client, "reports", ratelimit.Options{
		Rules: []ratelimit.Rule{ratelimit.PerHour(1)}, Algorithm: ratelimit.SlidingLog})
	if err != nil {
		t.Fatal(err)
	}

	for i, want := range []bool{true, false, true} {
		if i == 2 {
			server.Advance(time.Hour + time.Second)
		}
		result, err := limiter.Peek(t.Context(), "ada")
		if err != nil || result.Allowed != want {
			t.Errorf("request %d: allowed is %t, %v, want %t", i, result.Allowed, err, want)
		}
		if result.Allowed {
			_, err = limiter.Allow(t.Context(), "ada")
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// An outage is one line: close the server. The service must continue, or fail as you intend.
func TestShelfSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	client, server := testClient(t)
	shelf, err := NewShelf(client, rows{"pen": {"Pen", "Acme", 120}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close()

	if product, err := shelf.Product(t.Context(), "pen"); err != nil || product.Cents != 120 {
		t.Errorf("got %v, %v, want the product of the source", product, err)
	}
	if err := shelf.SetPrice(t.Context(), "pen", 150); err != nil {
		t.Errorf("a committed change was reported as failed: %v", err)
	}
	if product, err := shelf.Product(t.Context(), "pen"); err != nil || product.Cents != 150 {
		t.Errorf("got %v, %v after the change, want 150 cents", product, err)
	}
	if _, err := shelf.products.Get(t.Context(), "cup"); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable: Get has no loader", err)
	}
}

// In a bubble of testing/synctest, time passes at once: renewals, back-offs and TTLs take no real
// time.
func TestLockIsRenewedForAnHour(t *testing.T) {
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
		locks, err := lock.New(client, lock.Options{TTL: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}

		err = locks.Do(t.Context(), "report", func(ctx context.Context, held *lock.Lock) error {
			time.Sleep(time.Hour) // the bubble's clock
			return ctx.Err()
		})
		if err != nil || locks.Stats().Lost != 0 || locks.Stats().Renewals < 360 {
			t.Errorf("got %v after %+v", err, locks.Stats())
		}
	})
}

// A loader that counts shows that callers share a load.
func TestCallersShareALoad(t *testing.T) {
	t.Parallel()
	client, _ := testClient(t)
	users, err := cache.New[string](client, "users", cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loads := 0
	for range 3 {
		name, err := users.GetOrLoad(t.Context(), "1", func(context.Context, string) (string, error) {
			loads++
			return "Ada", nil
		})
		if err != nil || name != "Ada" {
			t.Fatal(name, err)
		}
	}
	if loads != 1 {
		t.Errorf("%d loads, want 1", loads)
	}
}
