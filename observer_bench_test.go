package redstart_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/observe"
)

// idle is an observer that does nothing, so that a benchmark shows the cost of the calls.
type idle struct{}

func (idle) Start(ctx context.Context, _ observe.Operation) (context.Context, func(error)) {
	return ctx, nil
}

func (idle) Record(context.Context, observe.Operation, observe.Quantity, time.Duration) {}

// BenchmarkObserver shows the cost of one observed operation with one measured quantity: without an
// observer, with an observer, and with a recorder.
func BenchmarkObserver(b *testing.B) {
	for _, with := range []struct {
		name     string
		observer observe.Observer
	}{
		{"none", nil}, {"observer", struct{ observe.Observer }{idle{}}}, {"recorder", idle{}},
	} {
		client, err := redstart.Open(b.Context(), redstart.Config{URL: rig.Shared(b).URL(), Namespace: rig.Prefix(b),
			Observer: with.observer})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = client.Close() })

		b.Run("operation/"+with.name, func(b *testing.B) {
			b.ReportAllocs()
			c, ctx := clientcore.Of(client), b.Context()
			op := observe.Operation{Pattern: "lock", Name: "orders", Verb: "acquire"}
			for b.Loop() {
				_, end := c.Start(ctx, op)
				c.Record(ctx, op, observe.Hold, time.Second)
				end(nil)
			}
		})
		b.Run("lock/"+with.name, func(b *testing.B) {
			b.ReportAllocs()
			locker, err := lock.New(client, lock.Options{Name: "orders"})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				held, err := locker.Acquire(b.Context(), "a")
				if err != nil {
					b.Fatal(err)
				}
				if err := held.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
