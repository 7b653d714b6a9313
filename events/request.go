package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
)

// ErrRemote is the error of the other side of a Request.
var ErrRemote = errors.New("events: the request failed on the other side")

// question and answer are the data of a request's events.
type question struct {
	ReplyTo string          `json:"reply_to"`
	Data    json.RawMessage `json:"data"`
}

type answer struct {
	Error string          `json:"error,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// Request publishes a question on a live bus and waits for the first answer: two messages and a subscription, so it is for
// now and then, not for a hot path. It is sent at most once and may get no answer: give ctx a deadline. Errors:
// ErrRemote with the other side's text; ErrNotFound when ctx ends without an answer, joined with its error; ErrClosed.
func Request[Q, A any](ctx context.Context, bus *Live, topic Topic[Q], channel string, data Q) (A, error) {
	var zero A
	if err := bus.life.open(); err != nil {
		return zero, fmt.Errorf("events: request: %w", err)
	}
	raw, err := marshal(data)
	if err != nil {
		return zero, fmt.Errorf("events: request: the data has no JSON form: %w", err)
	}
	id := newID(time.Now())
	replyTo := "reply:" + id
	got := make(chan string, 1)
	sub, err := bus.core.Hub().Subscribe(ctx, bus.space.Key(replyTo), hub.Receiver{Message: func(text string) {
		select {
		case got <- text:
		default: // the first answer counts
		}
	}})
	switch {
	case err != nil && ctx.Err() != nil: // it ended before the question could be sent
		return zero, fmt.Errorf("events: request: no answer: %w", errors.Join(ErrNotFound, err))
	case err != nil:
		return zero, fmt.Errorf("events: request: %w", err)
	}
	defer sub.Close()
	if err := publish(ctx, bus, topic.eventType, channel, question{replyTo, raw}, []PublishOption{ID(id)}); err != nil {
		return zero, err
	}
	select {
	case text := <-got:
		var d delivery
		var a answer
		if err := d.parse(text, false); err != nil {
			return zero, fmt.Errorf("events: request: %w", err)
		}
		if err := d.decode(&a); err != nil {
			return zero, fmt.Errorf("events: request: %w", err)
		}
		if a.Error != "" {
			return zero, fmt.Errorf("%w: %s", ErrRemote, a.Error)
		}
		if err := guard(func() error { return unmarshal(a.Data, &zero) }); err != nil {
			return zero, fmt.Errorf("events: request: %w", err)
		}
		return zero, nil
	case <-bus.life.ctx.Done():
		return zero, fmt.Errorf("events: request: %w", ErrClosed)
	case <-ctx.Done():
		return zero, fmt.Errorf("events: request: no answer: %w", errors.Join(ErrNotFound, context.Cause(ctx)))
	}
}

// Answer registers a handler that answers requests of a topic on the channels that match pattern. Its error is what the
// other side gets as ErrRemote; so are its panic, a runtime.Goexit, and an answer that is too large or has no JSON form. The
// subscriber must be one of the same live bus.
func Answer[Q, A any](sub *Subscriber, bus *Live, topic Topic[Q], pattern string, handle func(context.Context, Event[Q]) (A, error)) error {
	return NewTopic[question](topic.eventType).Handle(sub, pattern, func(ctx context.Context, e Event[question]) error {
		if e.Data.ReplyTo == "" {
			return undecodable("a request without reply_to", nil)
		}
		send := func(reply answer) error {
			return publish(ctx, bus, topic.eventType+".reply", e.Data.ReplyTo, reply, nil)
		}

		returned := false
		defer func() {
			if returned { // else runtime.Goexit
				return
			}
			if err := send(answer{Error: errGoexit.Error()}); err != nil {
				bus.core.Logger().Debug("events: a request was not answered", "channel", e.Channel, "error", err)
			}
		}()
		var data json.RawMessage
		err := guard(func() (err error) {
			typed := Event[Q]{ID: e.ID, Type: e.Type, Source: e.Source, Channel: e.Channel, Time: e.Time, Attempt: e.Attempt}
			if err = unmarshal(e.Data.Data, &typed.Data); err != nil {
				return err
			}
			a, err := handle(ctx, typed)
			if err == nil {
				data, err = json.Marshal(a)
			}
			return err
		})
		returned = true

		if err == nil {
			err = send(answer{Data: data})
			if !errors.Is(err, fault.ErrTooLarge) {
				return err
			}
		}
		text, _ := errorText(err)
		sent := send(answer{Error: bounded(text)})
		if _, panicked := errors.AsType[*PanicError](err); panicked || errors.Is(err, fault.ErrTooLarge) {
			return errors.Join(err, sent) // counted and reported here too
		}
		return sent
	})
}
