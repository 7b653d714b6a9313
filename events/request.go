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

// question and answer are the data of the two events of a request.
type question struct {
	ReplyTo string          `json:"reply_to"`
	Data    json.RawMessage `json:"data"`
}

type answer struct {
	Error string          `json:"error,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// Request publishes a question to a channel of a live bus and waits for the first answer. It costs
// two published events and one subscription, so it is not for hot paths. The question is sent at
// most once and may get no answer: give ctx a deadline.
//
// Errors: [ErrRemote] with the text of the other side's error; [ErrNoAnswer] when ctx ends first,
// joined with the cause of ctx; [ErrClosed].
func Request[Q, A any](ctx context.Context, bus *Live, topic Topic[Q], channel string, data Q) (A, error) {
	var reply A
	wrap := func(err error) error { return fmt.Errorf("events: request to %q: %w", channel, err) }
	if err := bus.life.open(); err != nil {
		return reply, wrap(err)
	}
	raw, err := marshal(data)
	if err != nil {
		return reply, wrap(fmt.Errorf("encode the data as JSON: %w", err))
	}

	id := newID(time.Now())
	replyTo := "reply:" + id
	got := make(chan string, 1)
	sub, err := bus.core.Hub().Subscribe(ctx, bus.space.Key(replyTo), hub.Receiver{Message: func(text string) {
		select {
		case got <- text:
		default: // only the first answer counts
		}
	}})
	switch {
	case err != nil && ctx.Err() != nil: // ctx ended before the question was sent
		return reply, wrap(errors.Join(ErrNoAnswer, err))
	case err != nil:
		return reply, wrap(err)
	}
	defer sub.Close()

	if err := publish(ctx, bus, topic.eventType, channel, question{replyTo, raw},
		[]PublishOption{ID(id)}); err != nil {
		return reply, err
	}
	select {
	case text := <-got:
		if err := readAnswer(text, &reply); err != nil {
			return reply, wrap(err)
		}
		return reply, nil
	case <-bus.life.ctx.Done():
		return reply, wrap(ErrClosed)
	case <-ctx.Done():
		return reply, wrap(errors.Join(ErrNoAnswer, context.Cause(ctx)))
	}
}

// readAnswer decodes the envelope of an answer and its data.
func readAnswer(text string, to any) error {
	var d delivery
	var a answer
	if err := d.parse(text, false); err != nil {
		return err
	}
	if err := d.decode(&a); err != nil {
		return err
	}
	if a.Error != "" {
		return fmt.Errorf("%w: %s", ErrRemote, a.Error)
	}
	return guard(func() error { return unmarshal(a.Data, to) })
}

// Answer registers a handler that answers the requests of a topic on the channels that match
// pattern. The subscriber must belong to a live bus. An error of handle reaches the other side as
// [ErrRemote] with the error's text. A panic, runtime.Goexit, and an answer that is too large or
// has no JSON form count as errors.
func Answer[Q, A any](
	sub *Subscriber, topic Topic[Q], pattern string, handle func(context.Context, Event[Q]) (A, error),
) error {
	bus := sub.live
	if bus == nil {
		return fmt.Errorf("events: answer %q: the subscriber %q belongs to a durable bus: "+
			"use a subscriber of a live bus", pattern, sub.name)
	}

	return NewTopic[question](topic.eventType).Handle(sub, pattern,
		func(ctx context.Context, e Event[question]) error {
			if e.Data.ReplyTo == "" {
				return undecodable("a request without reply_to", nil)
			}
			send := func(reply answer) error {
				return publish(ctx, bus, topic.eventType+".reply", e.Data.ReplyTo, reply, nil)
			}

			returned := false
			defer func() {
				if returned {
					return
				}
				// handle called runtime.Goexit.
				if err := send(answer{Error: errGoexit.Error()}); err != nil {
					bus.core.Logger().Debug("events: failed to send the answer to a request",
						"channel", e.Channel, "error", err)
				}
			}()
			data, err := callAnswer(ctx, e, handle)
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
				return errors.Join(err, sent) // it counts as a failure on this side too
			}
			return sent
		})
}

// callAnswer calls the user's handler and encodes what it returns.
func callAnswer[Q, A any](ctx context.Context, e Event[question],
	handle func(context.Context, Event[Q]) (A, error)) (data json.RawMessage, err error) {
	err = guard(func() error {
		typed := Event[Q]{ID: e.ID, Type: e.Type, Source: e.Source, Channel: e.Channel, Time: e.Time,
			Attempt: e.Attempt}
		if err := unmarshal(e.Data.Data, &typed.Data); err != nil {
			return err
		}
		a, err := handle(ctx, typed)
		if err != nil {
			return err
		}
		data, err = json.Marshal(a)
		return err
	})
	return data, err
}
