package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/password"
	"github.com/redstart-go/redstart/service/internal/pgtest"
	"github.com/redstart-go/redstart/service/internal/store"
)

func TestMain(m *testing.M) { rig.Main(m) }

func open(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func addUser(t *testing.T, s *store.Store, email string) store.User {
	t.Helper()
	u, err := s.AddUser(t.Context(), store.User{Email: email, Name: "Ada", PasswordHash: "hash", CreatedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsersAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		at := time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.FixedZone("", 7200))
		want := store.User{Email: "ada@example.com", Name: "Ada '; DROP TABLE users; --",
			PasswordHash: "hash", Plan: store.PlanPro, CreatedAt: at}
		added, err := s.AddUser(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		want.ID, want.CreatedAt = added.ID, at.UTC()

		byID, err := s.User(t.Context(), added.ID)
		if err != nil || byID != want {
			t.Errorf("User = %+v, %v; want %+v", byID, err, want)
		}
		byEmail, err := s.UserByEmail(t.Context(), "ada@example.com")
		if err != nil || byEmail != want {
			t.Errorf("UserByEmail = %+v, %v; want %+v", byEmail, err, want)
		}
		if _, err := s.User(t.Context(), added.ID+1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an unknown id: %v, want ErrNotFound", err)
		}
		if _, err := s.UserByEmail(t.Context(), "unknown@example.com"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an unknown address: %v, want ErrNotFound", err)
		}
	})
}

func TestUpdateUserChangesWhatItNames(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		ada := addUser(t, s, "ada@example.com")
		addUser(t, s, "grace@example.com")

		name, email, taken := "Augusta", "augusta@example.com", "grace@example.com"
		before, after, err := s.UpdateUser(t.Context(), ada.ID, store.UserChange{Name: &name})
		want := ada
		want.Name = name
		if err != nil || before != ada || after != want {
			t.Errorf("changing the name: %+v, %+v, %v; want %+v, %+v", before, after, err, ada, want)
		}
		_, after, err = s.UpdateUser(t.Context(), ada.ID, store.UserChange{Email: &email})
		want.Email = email
		if err != nil || after != want {
			t.Errorf("changing the address: %+v, %v; want %+v", after, err, want)
		}
		if _, _, err := s.UpdateUser(t.Context(), ada.ID,
			store.UserChange{Email: &taken, Name: &taken}); !errors.Is(err, store.ErrEmailTaken) {
			t.Errorf("taking another's address: %v, want ErrEmailTaken", err)
		}
		if got, err := s.User(t.Context(), ada.ID); err != nil || got != want {
			t.Errorf("after a refused change: %+v, %v; want %+v", got, err, want)
		}
		if _, _, err := s.UpdateUser(t.Context(), 999, store.UserChange{Name: &name}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("changing an unknown user: %v, want ErrNotFound", err)
		}
	})
}

func TestDeleteUserDeletesTheOrders(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		ada := addUser(t, s, "ada@example.com")
		for i := range 3 {
			if _, err := s.AddOrder(t.Context(), store.Order{UserID: ada.ID, Item: "Cards",
				TotalCents: int64(100 * i), CreatedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if sums, err := s.SpendingOf(t.Context(), ada.ID); err != nil || sums != (store.Spending{Orders: 3, TotalCents: 300}) {
			t.Errorf("SpendingOf = %+v, %v", sums, err)
		}
		if gone, err := s.DeleteUser(t.Context(), ada.ID); err != nil || gone != ada {
			t.Errorf("DeleteUser = %+v, %v; want %+v", gone, err, ada)
		}
		if sums, err := s.SpendingOf(t.Context(), ada.ID); err != nil || sums != (store.Spending{}) {
			t.Errorf("orders of a deleted user: %+v, %v", sums, err)
		}
		if _, err := s.DeleteUser(t.Context(), ada.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleting twice: %v, want ErrNotFound", err)
		}
		if again := addUser(t, s, "ada@example.com"); again.ID == ada.ID {
			t.Errorf("the id %d of a deleted user was reused", ada.ID)
		}
	})
}

func TestAnOrderNeedsItsUser(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		if o, err := s.AddOrder(t.Context(), store.Order{UserID: 42, Item: "Cards", CreatedAt: time.Now()}); err == nil {
			t.Errorf("an order without a user was stored: %+v", o)
		}
	})
}

func TestConcurrentWritersWaitForEachOther(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		url := newURL(t)
		stores := []*store.Store{open(t, url), open(t, url)} // as two processes on one file
		ada := addUser(t, stores[0], "ada@example.com")

		const each = 20
		var wg sync.WaitGroup
		for n, s := range stores {
			for range 2 {
				wg.Go(func() {
					for range each {
						name := fmt.Sprint("Ada ", n)
						if _, _, err := s.UpdateUser(t.Context(), ada.ID, store.UserChange{Name: &name}); err != nil {
							t.Error(err)
						}
						if _, err := s.AddOrder(t.Context(),
							store.Order{UserID: ada.ID, TotalCents: 1, CreatedAt: time.Now()}); err != nil {
							t.Error(err)
						}
						if _, err := s.User(t.Context(), ada.ID); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		if sums, err := stores[0].SpendingOf(t.Context(), ada.ID); err != nil || sums.Orders != 4*each {
			t.Errorf("%d orders, %v; want %d", sums.Orders, err, 4*each)
		}
	})
}

func TestOpeningAtOnceMigratesAndSeedsOnce(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		url := newURL(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s, err := store.Open(t.Context(), url)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Seed(t.Context()); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()

		s := open(t, url)
		ada, err := s.UserByEmail(t.Context(), store.SampleEmail)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := password.Matches(ada.PasswordHash, store.SamplePassword); err != nil || !ok {
			t.Errorf("the sample login does not work: %v, %v", ok, err)
		}
		if sums, err := s.SpendingOf(t.Context(), ada.ID); err != nil || sums.Orders != 2 {
			t.Errorf("sample orders: %+v, %v; want 2", sums, err)
		}
		if totals, err := s.Totals(t.Context()); err != nil || totals.Users != store.SampleUsers {
			t.Errorf("totals %+v, %v; want %d users", totals, err, store.SampleUsers)
		}
	})
}

func TestSeedLeavesADatabaseWithUsersAlone(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		addUser(t, s, "me@example.com")
		if err := s.Seed(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.UserByEmail(t.Context(), store.SampleEmail); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the sample login is in a database that was in use: %v", err)
		}
	})
}

func TestBadDatabaseURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "shop.db", "sqlite:", "sqlite://", "mysql://root:secret@db/shop",
		"sqlite:" + t.TempDir() + "/no/such/folder/shop.db"} {
		s, err := store.Open(t.Context(), url)
		if err == nil {
			t.Errorf("Open(%q) = nil error", url)
			_ = s.Close()
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

func TestACancelledCallStops(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		ada := addUser(t, s, "ada@example.com")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		name := "x"
		if _, _, err := s.UpdateUser(ctx, ada.ID, store.UserChange{Name: &name}); !errors.Is(err, context.Canceled) {
			t.Errorf("UpdateUser with a cancelled context: %v", err)
		}
		if got, err := s.User(t.Context(), ada.ID); err != nil || got.Name != "Ada" {
			t.Errorf("a cancelled change was made: %+v, %v", got, err)
		}
	})
}

func TestStatementsAreCounted(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		r, w := s.Queries() // of the migrations
		want := func(what string, reads, writes int64) {
			t.Helper()
			r, w = r+reads, w+writes
			if gotR, gotW := s.Queries(); gotR != r || gotW != w {
				t.Errorf("after %s: %d reads and %d writes, want %d and %d", what, gotR, gotW, r, w)
			}
		}
		ada := addUser(t, s, "ada@example.com")
		want("adding a user", 0, 1)
		if _, err := s.User(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		want("reading a user", 1, 0)
		if _, err := s.Orders(t.Context(), ada.ID, 10); err != nil {
			t.Fatal(err)
		}
		want("reading the orders", 1, 0)
		if _, err := s.AddOrder(t.Context(), store.Order{UserID: ada.ID, Item: "Cards",
			CreatedAt: time.Now()}, messageOf); err != nil {
			t.Fatal(err)
		}
		want("an order with its message", 0, 2)
		var metrics []string
		for m := range s.Metrics() {
			metrics = append(metrics, fmt.Sprint(m.Name, " ", m.Labels[0].Value, " ", m.Value))
		}
		if got, want := strings.Join(metrics, ", "),
			fmt.Sprintf("shop.db.queries read %d, shop.db.queries write %d", r, w); got != want {
			t.Errorf("metrics: %s; want %s", got, want)
		}
	})
}
