package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
)

// firstPause is the time between the first and the second attempt.
const firstPause = 100 * time.Millisecond

// Parcel is the data of an event of the events story.
type Parcel struct {
	Order string `json:"order"`
	Grams int    `json:"grams"`
}

// EventsStory publishes an event that its handler can't handle. It becomes a dead letter, and after
// a correction of the handler it is handled.
type EventsStory struct {
	bus   *events.Durable
	topic events.Topic[Parcel]
	turn  chan struct{} // one run at a time
}

func newEventsStory(client *redstart.Client) (*EventsStory, error) {
	bus, err := openParcels(client)
	return &EventsStory{bus: bus, topic: events.NewTopic[Parcel]("parcel.packed"), turn: make(chan struct{}, 1)}, err
}

// EventStep is a state of the event, and its time.
type EventStep struct {
	Millis  float64 `json:"ms"`                // since the start of the run
	What    string  `json:"what"`              // published, failed, dead, corrected or handled
	Attempt int     `json:"attempt,omitempty"` // of failed and handled
	Text    string  `json:"text,omitempty"`    // the error of failed and dead
}

// poison is one run while it goes on.
type poison struct {
	start     time.Time
	corrected atomic.Bool
	handled   chan struct{} // closed when the event is handled
	once      sync.Once

	mu    sync.Mutex // keeps the steps in order of time
	steps chan EventStep
}

// maxEventSteps is more than the steps of a run. An event that is handled again and again shows no
// further steps.
const maxEventSteps = 32

func (p *poison) add(step EventStep) {
	p.mu.Lock()
	defer p.mu.Unlock()
	step.Millis = millisOf(time.Since(p.start))
	select {
	case p.steps <- step:
	default:
	}
}

// begin adds the first step. The times count from here.
func (p *poison) begin() {
	p.mu.Lock()
	p.start = time.Now()
	p.mu.Unlock()
	p.add(EventStep{What: "published"})
}

// weigh is the handler. Before the correction it refuses a negative weight.
func (p *poison) weigh(_ context.Context, e events.Event[Parcel]) error {
	if e.Data.Grams < 0 && !p.corrected.Load() {
		err := fmt.Errorf("demo: weigh the parcel of order %q: %d g is negative", e.Data.Order, e.Data.Grams)
		p.add(EventStep{What: "failed", Attempt: e.Attempt, Text: err.Error()})
		return err
	}
	p.add(EventStep{What: "handled", Attempt: e.Attempt})
	p.once.Do(func() { close(p.handled) }) // an event can be handled twice
	return nil
}

// Poison publishes the event and follows it until it is handled. It calls show with each step, in
// order of time.
func (s *EventsStory) Poison(ctx context.Context, show func(EventStep)) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("demo: events story: wait for the run before: %w", ctx.Err())
	}
	if _, err := s.bus.DeadLetters("scales").DropAll(ctx); err != nil { // of a run that did not end
		return err
	}

	p := &poison{handled: make(chan struct{}), steps: make(chan EventStep, maxEventSteps)}
	sub, err := subscribe(s.bus, s.topic, p.weigh)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		running, stop := context.WithCancel(ctx)
		ran := make(chan error, 1)
		go func() { ran <- sub.Run(running) }()
		err := s.follow(ctx, sub, p)
		stop()
		ended <- errors.Join(err, <-ran)
		close(p.steps) // the handler does not run any more
	}()
	for step := range p.steps {
		show(step)
	}
	return <-ended
}

// follow waits for each state of the event.
func (s *EventsStory) follow(ctx context.Context, sub *events.Subscriber, p *poison) error {
	select {
	case <-sub.Ready():
	case <-ctx.Done():
		return fmt.Errorf("demo: events story: wait for the subscriber: %w", ctx.Err())
	}
	p.begin()
	if err := s.topic.Publish(ctx, s.bus, "orders:1", Parcel{Order: "1", Grams: -5}); err != nil {
		return err
	}
	letter, err := s.letter(ctx)
	if err != nil {
		return err
	}
	p.add(EventStep{What: "dead", Attempt: letter.Attempts, Text: letter.Cause})
	p.corrected.Store(true)
	p.add(EventStep{What: "corrected"})
	if _, err := retry(ctx, s.bus); err != nil {
		return err
	}
	select {
	case <-p.handled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("demo: events story: wait for the event: %w", ctx.Err())
	}
}

// letter waits for the dead letter.
func (s *EventsStory) letter(ctx context.Context) (events.DeadLetter, error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		letters, err := s.bus.DeadLetters("scales").List(ctx, "", 1)
		if err != nil {
			return events.DeadLetter{}, err
		}
		if len(letters) > 0 {
			return letters[0], nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return events.DeadLetter{}, fmt.Errorf("demo: events story: wait for the dead letter: %w", ctx.Err())
		}
	}
}
