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
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/session"
)

// The unit under test gets a real client. There is nothing to mock.
func TestShelfForgetsAnOldPrice(t *testing.T) {
	t.Parallel()
	server := redstarttest.Start(t)
	shelf, err := NewShelf(server.Client(), rows{"pen": {"Pen", "Acme", 120}}, slog.Default())
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
	server.RequireNoKeysWithoutTTL()
}

// cache: the page works in every state of the server, and a price is never older than its TTL.
func TestShelfInEveryState(t *testing.T) {
	for _, test := range []struct {
		name  string
		state func(server *redstarttest.Server)
		want  int // cents, after the price in the database has changed from 120 to 150
	}{
		{"cached", func(*redstarttest.Server) {}, 120},
		{"expired", func(server *redstarttest.Server) { server.Advance(2 * time.Hour) }, 150},
		{"no server, cached", func(server *redstarttest.Server) { server.Break() }, 120},
		{"no server, near cache expired", func(server *redstarttest.Server) {
			server.Break()
			server.Advance(2 * time.Hour)
		}, 150},
		{"a server that hangs", func(server *redstarttest.Server) {
			server.Hang()
			server.Advance(2 * time.Hour)
		}, 150},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redstarttest.Start(t, func(cfg *redstart.Config) { cfg.CommandTimeout = 200 * time.Millisecond })
			database := rows{"pen": {"Pen", "Acme", 120}}
			shelf, err := NewShelf(server.Client(), database, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := shelf.Product(t.Context(), "pen"); err != nil {
				t.Fatal(err)
			}
			server.Settle()

			database["pen"] = Product{"Pen", "Acme", 150} // by another program, without an invalidation
			test.state(server)
			if product, err := shelf.Product(t.Context(), "pen"); err != nil || product.Cents != test.want {
				t.Errorf("got %d cents, %v, want %d", product.Cents, err, test.want)
			}
		})
	}
}

// lock: work stops when its lock is lost, for each reason.
func TestReportStopsWithItsLock(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(server *redstarttest.Server)
		want error
	}{
		{"kept", func(*redstarttest.Server) {}, nil},
		{"the process slept", func(server *redstarttest.Server) { server.Advance(time.Minute) }, lock.ErrLost},
		{"no server until the lease ends", func(server *redstarttest.Server) { server.Break() }, lock.ErrLost},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redstarttest.Start(t)
			locks, err := lock.New(server.Client(), lock.Options{TTL: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			err = locks.Do(t.Context(), "report", func(ctx context.Context, held *lock.Lock) error {
				test.lose(server)
				if test.want != nil {
					<-ctx.Done()
				}
				return context.Cause(ctx)
			})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// events: each mail is sent, whatever happens to the first attempt.
func TestEveryMailIsSent(t *testing.T) {
	paid := events.NewTopic[string]("order.paid")
	for _, test := range []struct {
		name     string
		first    error // of the first attempt
		delay    time.Duration
		attempts int
	}{
		{"at once", nil, 0, 1},
		{"after an error", errors.New("the mail server is down"), 0, 2},
		{"an hour later", nil, time.Hour, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := redstarttest.Start(t)
				bus, err := events.NewDurable(server.Client(), "orders", events.DurableOptions{Partitions: 2})
				if err != nil {
					t.Fatal(err)
				}
				sub, err := bus.Subscriber("mail", events.SubscriberOptions{})
				if err != nil {
					t.Fatal(err)
				}
				attempts := 0
				err = paid.Handle(sub, "orders:*", func(context.Context, events.Event[string]) error {
					if attempts++; attempts == 1 {
						return test.first
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- sub.Run(ctx) }()
				<-sub.Ready()

				if err := paid.Publish(t.Context(), bus, "orders:42", "ada@example.com", events.Delay(test.delay)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(test.delay) // the bubble's time
				redstarttest.Drain(server, bus)
				if attempts != test.attempts {
					t.Errorf("%d attempts, want %d", attempts, test.attempts)
				}
				if sent := redstarttest.Published[string](server, paid, "orders:42"); len(sent) != 1 {
					t.Errorf("published %q, want one order", sent)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// session: a login ends by idleness, by its lifetime, and never because Redis is down.
func TestLoginEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		live func(server *redstarttest.Server, use func())
		want error
	}{
		{"in use", func(server *redstarttest.Server, use func()) {
			for range 5 {
				server.Advance(20 * time.Minute)
				use()
			}
		}, nil},
		{"idle", func(server *redstarttest.Server, _ func()) { server.Advance(time.Hour) }, session.ErrNotFound},
		{"Redis is down", func(server *redstarttest.Server, _ func()) { server.Break() }, redstart.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redstarttest.Start(t)
			sessions, err := session.New[string](server.Client(), "web", session.Options{IdleTimeout: 30 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			login, err := sessions.Create(t.Context(), "ada", "a cart")
			if err != nil {
				t.Fatal(err)
			}
			test.live(server, func() {
				if _, err := sessions.Load(t.Context(), login.Token()); err != nil {
					t.Error(err)
				}
			})
			if _, err := sessions.Load(t.Context(), login.Token()); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// ratelimit: one report per hour and user. Advance also ends denials that the client remembers.
func TestLimitOfReports(t *testing.T) {
	t.Parallel()
	server := redstarttest.Start(t)
	limiter, err := ratelimit.New(server.Client(), "reports", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
	if err != nil {
		t.Fatal(err)
	}
	for i, request := range []struct {
		after time.Duration
		user  string
		want  bool
	}{
		{0, "ada", true},
		{0, "ada", false},
		{0, "bob", true},
		{59 * time.Minute, "ada", false},
		{time.Minute, "ada", true},
	} {
		server.Advance(request.after)
		result, err := limiter.Allow(t.Context(), request.user)
		if err != nil || result.Allowed != request.want {
			t.Errorf("request %d: allowed is %t, %v, want %t", i, result.Allowed, err, request.want)
		}
	}
}

// A committed change is not reported as failed, also if the answer of the invalidation is lost. The
// client repeats the invalidation in the background.
func TestLostInvalidationIsRepeated(t *testing.T) {
	t.Parallel()
	server := redstarttest.Start(t)
	database := rows{"pen": {"Pen", "Acme", 120}}
	here, err := NewShelf(server.Client(), database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := NewShelf(server.Client(), database, slog.New(slog.DiscardHandler)) // another process
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Product(t.Context(), "pen"); err != nil {
		t.Fatal(err)
	}

	server.LoseReplies(1)
	if err := here.SetPrice(t.Context(), "pen", 150); err != nil {
		t.Errorf("a committed change was reported as failed: %v", err)
	}
	server.Settle()
	if product, err := elsewhere.Product(t.Context(), "pen"); err != nil || product.Cents != 150 {
		t.Errorf("another process has %d cents, %v, want 150", product.Cents, err)
	}
}

// In a bubble of testing/synctest, time passes at once: renewals, back-offs and TTLs take no real
// time.
func TestLockIsRenewedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks, err := lock.New(redstarttest.Start(t).Client(), lock.Options{TTL: 10 * time.Second})
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
	users, err := cache.New[string](redstarttest.Start(t).Client(), "users", cache.Options{})
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
