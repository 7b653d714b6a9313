package shop_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/pgtest"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

func TestMain(m *testing.M) { rig.Main(m) }

func open(t *testing.T, redis, database string) (*shop.Shop, *store.Store) {
	t.Helper()
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	client, err := redstart.Open(t.Context(), redstart.Config{URL: redis, Namespace: rig.Prefix(t),
		CommandTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	s, err := shop.New(client, db, shop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

func addUser(t *testing.T, db *store.Store, email string) store.User {
	t.Helper()
	u, err := db.AddUser(t.Context(), store.User{Email: email, Name: "Ada", PasswordHash: "hash", CreatedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// The client disconnects during a change. The cache must not keep the old value.
func TestInvalidationDoesNotDependOnTheRequest(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		name := "Augusta"
		for what, change := range map[string]func(*shop.Shop, context.Context, int64) error{
			"update": func(s *shop.Shop, ctx context.Context, id int64) error {
				_, err := s.UpdateUser(ctx, id, shop.UserChange{Name: &name})
				return err
			},
			"delete": func(s *shop.Shop, ctx context.Context, id int64) error { return s.DeleteUser(ctx, id) },
		} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				s, db := open(t, rig.Shared(t).URL(), newURL(t))
				ada := addUser(t, db, "ada@example.com")
				for _, want := range []shop.Source{shop.FromDatabase, shop.FromCache} {
					if _, source, err := s.User(t.Context(), ada.ID); err != nil ||
						(source == shop.FromDatabase) != (want == shop.FromDatabase) {
						t.Fatalf("User: from %s, %v; want from %s", source, err, want)
					}
				}
				ctx, hangUp := context.WithCancel(t.Context())
				hangUp()
				if err := change(s, ctx, ada.ID); !errors.Is(err, context.Canceled) {
					t.Errorf("error %v, want that of the context", err)
				}
				if _, source, err := s.User(t.Context(), ada.ID); err != nil || source != shop.FromDatabase {
					t.Errorf("afterwards: from %s, %v; want from the database", source, err)
				}
			})
		}
	})
}

// The row is deleted while Redis is unreachable. The second attempt finds no row and still
// invalidates the cache.
func TestASecondDeleteInvalidatesAfterAnOutage(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		network := rig.NewProxy(t, rig.Shared(t).Addr())
		s, db := open(t, network.URL(), newURL(t))
		ada := addUser(t, db, "ada@example.com")
		if _, _, err := s.User(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Spending(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		network.Refuse()
		network.Cut()
		if err := s.DeleteUser(t.Context(), ada.ID); !errors.Is(err, redstart.ErrUnavailable) &&
			!errors.Is(err, redstart.ErrIndeterminate) {
			t.Fatalf("without Redis: %v, want the class of an outage", err)
		}
		if err := network.Accept(); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 10*time.Second, "a second try succeeds, without a row", func() bool {
			err := s.DeleteUser(t.Context(), ada.ID)
			return errors.Is(err, store.ErrNotFound) && !errors.Is(err, redstart.ErrUnavailable)
		})
		if u, _, err := s.User(t.Context(), ada.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the deleted user is read: %+v, %v", u, err)
		}
		if sums, _, err := s.Spending(t.Context(), ada.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the deleted user's spending is read: %+v, %v", sums, err)
		}
	})
}

func TestARefusedChangeInvalidatesNothing(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s, db := open(t, rig.Shared(t).URL(), newURL(t))
		ada, grace := addUser(t, db, "ada@example.com"), addUser(t, db, "grace@example.com")
		if _, _, err := s.User(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		empty := ""
		for what, change := range map[string]shop.UserChange{
			"another's address": {Email: &grace.Email},
			"an empty name":     {Name: &empty},
			"nothing":           {},
		} {
			if u, err := s.UpdateUser(t.Context(), ada.ID, change); err == nil {
				t.Errorf("%s was accepted: %+v", what, u)
			}
		}
		if _, source, err := s.User(t.Context(), ada.ID); err != nil || source == shop.FromDatabase {
			t.Errorf("afterwards: from %s, %v; want from the cache", source, err)
		}
	})
}
