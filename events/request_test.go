package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := live(t, e.URL, e.Namespace, events.LiveOptions{})
		sub := subscriber(t, bus, "s", events.SubscriberOptions{})
		double := events.NewTopic[int]("double")
		must(t, events.Answer(sub, double, "math", func(_ context.Context, e events.Event[int]) (string, error) {
			if e.Data < 0 {
				return "", errors.New("too small")
			}
			return fmt.Sprint(2 * e.Data), nil
		}))
		run(t, sub)
		for n := range 5 {
			if got, err := events.Request[int, string](t.Context(), bus, double, "math", n); err != nil ||
				got != fmt.Sprint(2*n) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if _, err := events.Request[int, string](t.Context(), bus, double, "math", -1); !errors.Is(err,
			events.ErrRemote) || !strings.Contains(err.Error(), "too small") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := events.Request[int, string](ctx, bus, double, "unanswered", 1); !errors.Is(err,
			events.ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
