package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/service/internal/pgtest"
	"github.com/redstart-go/redstart/service/internal/store"
)

func messageOf(o store.Order) (store.Message, error) {
	return store.Message{Channel: "c", Type: o.Status, Data: []byte(`{}`)}, nil
}

// outbox returns the types of the rows in the outbox, in order.
func outbox(t *testing.T, s *store.Store) (types []string) {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), `SELECT type FROM outbox ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			t.Fatal(err)
		}
		types = append(types, kind)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return types
}

// The first holder of a lock is paused, a second holder takes over, and the first holder continues.
func TestAnOverdueHolderChangesNothing(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		ada := addUser(t, s, "ada@example.com")
		o, err := s.AddOrder(t.Context(), store.Order{UserID: ada.ID, Item: "Cards", CreatedAt: time.Now()}, messageOf)
		if err != nil {
			t.Fatal(err)
		}
		begin := func(fence int64) error {
			_, err := s.BeginProcessing(t.Context(), ada.ID, o.ID, fence)
			return err
		}
		finish := func(fence int64, by string) error {
			_, err := s.FinishProcessing(t.Context(), ada.ID, o.ID, fence, by, messageOf)
			return err
		}
		if err := begin(10); err != nil {
			t.Fatal(err)
		}
		if err := begin(11); err != nil {
			t.Fatal(err)
		}
		if err := finish(10, "the first"); !errors.Is(err, lock.ErrLost) {
			t.Errorf("the first finishes: %v, want ErrLost", err)
		}
		if err := begin(10); !errors.Is(err, lock.ErrLost) {
			t.Errorf("the first begins again: %v, want ErrLost", err)
		}
		if err := finish(11, "the second"); err != nil {
			t.Errorf("the second finishes: %v", err)
		}
		for _, err := range []error{finish(11, "again"), finish(10, "late"), begin(12)} {
			if !errors.Is(err, store.ErrProcessed) {
				t.Errorf("afterwards: %v, want ErrProcessed", err)
			}
		}
		now, err := s.Order(t.Context(), ada.ID, o.ID)
		if err != nil || now.Status != store.StatusProcessed || now.ProcessedBy != "the second" ||
			now.Fence != 11 || now.ProcessedAt == nil {
			t.Errorf("the order is %+v, %v", now, err)
		}
		if _, err := s.BeginProcessing(t.Context(), ada.ID+1, o.ID, 99); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another user's: %v, want ErrNotFound", err)
		}
		if types := outbox(t, s); len(types) != 2 || types[0] != store.StatusNew || types[1] != store.StatusProcessed {
			t.Errorf("messages: %v", types)
		}
	})
}

func TestAnOrderWithoutItsMessageIsNotStored(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		ada := addUser(t, s, "ada@example.com")
		broken := errors.New("broken")
		_, err := s.AddOrder(t.Context(), store.Order{UserID: ada.ID, Item: "Cards", CreatedAt: time.Now()}, messageOf,
			func(store.Order) (store.Message, error) { return store.Message{}, broken })
		if !errors.Is(err, broken) {
			t.Errorf("AddOrder: %v", err)
		}
		if list, err := s.Orders(t.Context(), ada.ID, 10); err != nil || len(list) != 0 {
			t.Errorf("the order is there: %+v, %v", list, err)
		}
		if types := outbox(t, s); len(types) != 0 {
			t.Errorf("messages: %v", types)
		}
	})
}

func TestANotificationIsStoredOnce(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		ada := addUser(t, s, "ada@example.com")
		n := store.Notification{EventID: "e1", UserID: ada.ID, Type: "order_created",
			Data: []byte(`{"id":1}`), CreatedAt: time.Now()}
		for i, want := range []bool{true, false} {
			if got, err := s.AddNotification(t.Context(), n); err != nil || got != want {
				t.Errorf("try %d: %v, %v; want %v", i, got, err, want)
			}
		}
		n.EventID, n.UserID = "e2", 999
		if got, err := s.AddNotification(t.Context(), n); err != nil || got {
			t.Errorf("a notification of an unknown user: %v, %v", got, err)
		}
		if list, err := s.Notifications(t.Context(), ada.ID, 10); err != nil || len(list) != 1 ||
			string(list[0].Data) != `{"id":1}` {
			t.Errorf("Notifications = %+v, %v", list, err)
		}
	})
}

func TestTotals(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		s := open(t, newURL(t))
		if totals, err := s.Totals(t.Context()); err != nil || totals != (store.Totals{}) {
			t.Errorf("totals of an empty database: %+v, %v", totals, err)
		}
		ada := addUser(t, s, "ada@example.com")
		for i := range int64(2) {
			o, err := s.AddOrder(t.Context(), store.Order{UserID: ada.ID, Item: "Cards", TotalCents: 100, CreatedAt: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				if _, err := s.BeginProcessing(t.Context(), ada.ID, o.ID, 1); err != nil {
					t.Fatal(err)
				}
				if _, err := s.FinishProcessing(t.Context(), ada.ID, o.ID, 1, "x"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if totals, err := s.Totals(t.Context()); err != nil ||
			totals != (store.Totals{Users: 1, Orders: 2, Processed: 1, RevenueCents: 100}) {
			t.Errorf("Totals = %+v, %v", totals, err)
		}
	})
}
