package redstart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// faulty is an observer that panics at one step of each operation.
type faulty struct{ step string }

func (f faulty) fails(step string) {
	if f.step == step {
		panic("a defect of the observer")
	}
}

func (f faulty) Start(ctx context.Context, _ observe.Operation) (context.Context, func(error)) {
	f.fails("start")
	return ctx, func(error) { f.fails("end") }
}

// observed has one call of each pattern that starts spans.
var observed = map[string]func(context.Context, *redstart.Client) error{
	"cache": func(ctx context.Context, c *redstart.Client) error {
		users, err := cache.New[string](c, "users", cache.Options{TTL: time.Minute})
		if err != nil {
			return err
		}
		got, err := users.GetOrLoad(ctx, "1", func(context.Context, string) (string, error) { return "ada", nil })
		if err == nil && got != "ada" {
			err = fmt.Errorf("got %q, want ada", got)
		}
		return err
	},
	"lock": func(ctx context.Context, c *redstart.Client) error {
		locker, err := lock.New(c, lock.Options{})
		if err != nil {
			return err
		}
		return locker.Do(ctx, "a", func(context.Context, *lock.Lock) error { return nil })
	},
	"idempotency": func(ctx context.Context, c *redstart.Client) error {
		e, err := idempotency.New(c, "orders", idempotency.Options{Scope: idempotency.OneScope})
		if err != nil {
			return err
		}
		r := httptest.NewRequest(http.MethodPost, "/orders", http.NoBody).WithContext(ctx)
		r.Header.Set("Idempotency-Key", `"k"`)
		h := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
		for range 2 {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusCreated {
				err = errors.Join(err, fmt.Errorf("got %d %s", w.Code, w.Body))
			}
		}
		if s := e.Stats(); s.Executed != 1 || s.Replayed != 1 {
			err = errors.Join(err, fmt.Errorf("got %+v, want one execution and one replay", s))
		}
		return err
	},
	"session": func(ctx context.Context, c *redstart.Client) error {
		m, err := session.New[string](c, "web", session.Options{})
		if err != nil {
			return err
		}
		_, err = m.Create(ctx, "ada", "")
		return err
	},
	"ratelimit": func(ctx context.Context, c *redstart.Client) error {
		l, err := ratelimit.New(c, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(9)}})
		if err != nil {
			return err
		}
		if err := l.Wait(ctx, "ada"); err != nil {
			return err
		}
		result, err := l.Allow(ctx, "ada")
		if err == nil && (!result.Allowed || result.Degraded || result.Remaining != 7) {
			err = fmt.Errorf("got %+v, want 7 remaining tokens", result)
		}
		return err
	},
	"events": func(ctx context.Context, c *redstart.Client) error {
		bus, err := events.NewDurable(c, "orders", events.DurableOptions{})
		if err != nil {
			return err
		}
		sub, err := bus.Subscriber("mail", events.SubscriberOptions{})
		if err != nil {
			return err
		}
		topic, handled := events.NewTopic[string]("created"), make(chan string, 9)
		err = topic.Handle(sub, "*", func(_ context.Context, e events.Event[string]) error { handled <- e.Data; return nil })
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(ctx)
		ran := make(chan error, 1)
		go func() { ran <- sub.Run(ctx) }()
		<-sub.Ready()
		err = topic.Publish(ctx, bus, "42", "order")
		if err == nil {
			<-handled
		}
		stop()
		err = errors.Join(err, <-ran)
		if n := sub.Stats().Failed; n != 0 {
			err = errors.Join(err, fmt.Errorf("%d events failed", n))
		}
		return err
	},
}

// A panic of the observer, at the start or at the end of a span, ends no operation of any pattern.
// It is logged.
func TestObserverPanicsAreContained(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"start", "end"} {
		for pattern, call := range observed {
			t.Run(pattern+"/"+step, func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer // read after Close, which ends the writer
				c, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t),
					CommandTimeout: 10 * time.Second, Observer: faulty{step}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				func() {
					defer func() {
						if p := recover(); p != nil {
							t.Errorf("the caller received the panic: %v", p)
						}
					}()
					if err := call(t.Context(), c); err != nil {
						t.Error(err)
					}
				}()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				want := []string{"redstart: the observer panicked", "pattern=" + pattern, "step=" + step, "a defect of the observer"}
				for _, text := range want {
					if !strings.Contains(log.String(), text) {
						t.Errorf("the log does not contain %q: %s", text, log.String())
					}
				}
			})
		}
	}
}
