package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/service/internal/store"
)

// Notification is an event that the user has received.
type Notification struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Data      json.RawMessage `json:"data"`
	CreatedAt time.Time       `json:"created_at"`
}

// Notifications returns the user's newest notifications, newest first.
func (s *Shop) Notifications(ctx context.Context, userID int64) ([]Notification, error) {
	rows, err := s.store.Notifications(ctx, userID, listed)
	list := make([]Notification, 0, len(rows))
	for _, row := range rows {
		list = append(list, Notification{row.EventID, row.Type, row.Data, row.CreatedAt})
	}
	return list, err
}

// notificationsGroup is the consumer group that stores notifications.
const notificationsGroup = "notifications"

// Run publishes the rows of the outbox and stores events as notifications, until ctx ends. Every
// instance may run it: the instances share the work, and an event that is handled twice is stored
// once.
func (s *Shop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outbox, err := events.NewOutbox(s.store.Outbox(), s.bus, events.OutboxOptions{
		Poll:   100 * time.Millisecond,
		Groups: []string{notificationsGroup}, // events that are published before the group exists would be lost
	})
	if err != nil {
		return err
	}
	worker, err := s.bus.Subscriber(notificationsGroup, events.SubscriberOptions{
		Start:        events.FromBeginning(), // includes events from before the first instance subscribed
		DrainTimeout: 5 * time.Second,
		OnError: func(ctx context.Context, event events.Event[[]byte], err error) {
			s.log.WarnContext(ctx, "shop: an event was not handled", "id", event.ID, "attempt", event.Attempt, "error", err)
		},
		OnGap: func(gap events.Gap) {
			s.log.Warn("shop: events may have been lost", "reason", gap.Reason.String(), "missed", gap.Missed)
		},
	})
	if err != nil {
		return err
	}
	if err := worker.HandleRaw("users:*", s.notify); err != nil {
		return err
	}
	var ended [2]error
	var wg sync.WaitGroup
	for i, run := range []func(context.Context) error{outbox.Run, worker.Run} {
		wg.Go(func() {
			defer cancel() // if one ends, the other ends too
			ended[i] = run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(ended[:]...)
}

// notify stores an event as a notification. A repeated event is ignored, because the database knows
// its id.
func (s *Shop) notify(ctx context.Context, event events.Event[json.RawMessage]) error {
	user, err := strconv.ParseInt(strings.TrimPrefix(event.Channel, "users:"), 10, 64)
	if err != nil {
		return events.Discard(fmt.Errorf("shop: channel %q has no user id: %w", event.Channel, err))
	}
	_, err = s.store.AddNotification(ctx, store.Notification{
		EventID: event.ID, UserID: user, Type: event.Type, Data: event.Data, CreatedAt: event.Time,
	})
	return err
}

// streamsUser is the context key of the user whose events a request streams.
type streamsUser struct{}

// MaxStreams is the number of streams that one user can have open at one instance.
const MaxStreams = 16

// ErrTooManyStreams means that the user has MaxStreams open streams at this instance.
var ErrTooManyStreams = errors.New("shop: too many streams of this user")

// Stream sends the events of a user to the browser until ctx ends. It starts after the event that
// the request names as its last one. ErrTooManyStreams is returned before anything is written.
func (s *Shop) Stream(ctx context.Context, w http.ResponseWriter, r *http.Request, userID int64) error {
	if !s.open.add(userID) {
		return ErrTooManyStreams
	}
	defer s.open.done(userID)

	s.streams.ServeHTTP(w, r.WithContext(context.WithValue(ctx, streamsUser{}, userID)))
	return nil
}

// streamCounts counts the open streams of each user.
type streamCounts struct {
	mu sync.Mutex
	of map[int64]int
}

func (c *streamCounts) add(userID int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[userID] >= MaxStreams {
		return false
	}
	if c.of == nil {
		c.of = make(map[int64]int)
	}
	c.of[userID]++
	return true
}

func (c *streamCounts) done(userID int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[userID]--; c.of[userID] == 0 {
		delete(c.of, userID)
	}
}

func (s *Shop) openBus(client *redstart.Client) (err error) {
	s.bus, err = events.NewDurable(client, "shop", events.DurableOptions{
		Source:    "shop",
		Retention: 24 * time.Hour, // a browser that was disconnected for less time misses no event
		MaxLen:    10_000,
	})
	if err != nil {
		return err
	}
	s.streams, err = s.bus.SSE(func(r *http.Request) (string, error) {
		id, ok := r.Context().Value(streamsUser{}).(int64)
		if !ok {
			return "", errors.New("shop: stream: the request has no user")
		}
		return channelOf(id), nil
	}, events.SSEOptions{})
	return err
}
