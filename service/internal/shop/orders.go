package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/service/internal/store"
)

// Order is an order, for its user and in events.
type Order struct {
	ID          int64      `json:"id"`
	Item        string     `json:"item"`
	AmountCents int64      `json:"amount_cents"`
	Status      string     `json:"status"`
	CreatedAt   time.Time  `json:"created_at"`
	ProcessedBy string     `json:"processed_by,omitempty"`
	ProcessedAt *time.Time `json:"processed_at,omitempty"`
	Fence       int64      `json:"fence,omitempty"`
}

// The types of the events about orders. Their channel is the channel of the user.
const (
	OrderCreated   = "order_created"
	OrderProcessed = "order_processed"
)

func channelOf(userID int64) string { return "users:" + strconv.FormatInt(userID, 10) }

const (
	maxItem   = 200         // characters
	maxAmount = 100_000_000 // cents
	listed    = 50
)

// CreateOrder stores an order of a user. The outbox publishes order_created. Errors: *Invalid.
func (s *Shop) CreateOrder(ctx context.Context, userID int64, item string, amountCents int64) (Order, error) {
	item = strings.TrimSpace(item)
	if err := checkOrder(item, amountCents); err != nil {
		return Order{}, err
	}
	row, err := s.store.AddOrder(ctx, store.Order{UserID: userID, Item: item, TotalCents: amountCents, CreatedAt: time.Now()},
		messageOf(OrderCreated))
	// Also after an error, because the order may be stored. A failed invalidation is replayed. It
	// is not an error of the order: a client that gets an error sends the order again.
	if failed := s.spending.Delete(context.WithoutCancel(ctx), userSpendingKey(userID)); failed != nil {
		s.log.WarnContext(ctx, "shop: the spending of a user is old until its invalidation is replayed", "error", failed)
	}
	return ordered(row), err
}

// Order returns an order of a user, or store.ErrNotFound.
func (s *Shop) Order(ctx context.Context, userID, id int64) (Order, error) {
	row, err := s.store.Order(ctx, userID, id)
	return ordered(row), err
}

// Orders returns the user's newest orders, newest first.
func (s *Shop) Orders(ctx context.Context, userID int64) ([]Order, error) {
	rows, err := s.store.Orders(ctx, userID, listed)
	list := make([]Order, 0, len(rows))
	for _, row := range rows {
		list = append(list, ordered(row))
	}
	return list, err
}

// Process processes an order of a user exactly once, even if several instances try. The outbox
// publishes order_processed.
//
// The lock prevents that instances do the same work at the same time. The database guarantees
// "exactly once": it compares the fencing token of the lock. An instance that was paused for longer
// than its lease finds a newer token.
//
// Errors: store.ErrNotFound, store.ErrProcessed, lock.ErrNotAcquired, lock.ErrLost.
func (s *Shop) Process(ctx context.Context, userID, id int64) (Order, error) {
	// Check first that the order exists, so that clients can't create locks with arbitrary names.
	if row, err := s.store.Order(ctx, userID, id); err != nil || row.Status == store.StatusProcessed {
		return ordered(row), errors.Join(err, processed(row))
	}
	var done store.Order
	err := s.locks.Do(ctx, fmt.Sprint("order:", id), func(ctx context.Context, held *lock.Lock) error {
		row, err := s.store.BeginProcessing(ctx, userID, id, held.Token())
		if err != nil {
			return err
		}
		if s.pack != nil {
			if err := s.pack(ctx, ordered(row)); err != nil {
				return err
			}
		}
		done, err = s.store.FinishProcessing(ctx, userID, id, held.Token(), s.instance, messageOf(OrderProcessed))
		return err
	})
	if done.Status == store.StatusProcessed && errors.Is(err, lock.ErrLost) {
		err = nil // the lock was lost after the commit: the order is processed, and no other instance can process it
	}
	return ordered(done), err
}

func processed(row store.Order) error {
	if row.Status == store.StatusProcessed {
		return store.ErrProcessed
	}
	return nil
}

// messageOf returns a function that makes the outbox message of an order.
func messageOf(event string) func(store.Order) (store.Message, error) {
	return func(row store.Order) (store.Message, error) {
		data, err := json.Marshal(ordered(row))
		return store.Message{Channel: channelOf(row.UserID), Type: event, Data: data}, err
	}
}

func ordered(row store.Order) Order {
	return Order{row.ID, row.Item, row.TotalCents, row.Status, row.CreatedAt, row.ProcessedBy, row.ProcessedAt, row.Fence}
}

func checkOrder(item string, amountCents int64) error {
	switch {
	case item == "":
		return &Invalid{"item", "must not be empty"}
	case utf8.RuneCountInString(item) > maxItem:
		return &Invalid{"item", fmt.Sprintf("must have at most %d characters", maxItem)}
	case !utf8.ValidString(item) || strings.ContainsFunc(item, unicode.IsControl):
		return &Invalid{"item", "must not contain control characters"}
	case amountCents < 1 || amountCents > maxAmount:
		return &Invalid{"amount_cents", fmt.Sprintf("must be a whole number from 1 to %d", maxAmount)}
	}
	return nil
}
