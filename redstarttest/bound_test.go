package redstarttest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/redstarttest"
)

// unreachable makes the answers of a server come too late for each call.
func unreachable(server *redstarttest.Server) { server.Delay(time.Hour) }

// Each helper that waits ends after 30 s and fails the test. The bubble has virtual time, so the
// test is as fast as a wait of 1 ms.
func TestHelpersWaitFor30Seconds(t *testing.T) {
	for name, helper := range map[string]struct {
		begin func(t testing.TB, server *redstarttest.Server) (wait func())
		parts []string
	}{
		"Settle": {func(t testing.TB, server *redstarttest.Server) func() {
			names, err := cache.New[string](server.Client(), "names", cache.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancel(t.Context())
			release, loading := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(release) })
			go func() {
				_, _ = names.GetOrLoad(ctx, "1", func(context.Context, string) (string, error) { // its caller leaves
					close(loading)
					<-release
					return "Ada", nil
				})
			}()
			<-loading
			leave()
			return server.Settle
		}, []string{"settle", "let the callback return"}},
		"Drain": {func(t testing.TB, server *redstarttest.Server) func() {
			bus, err := events.NewDurable(server.Client(), "orders", events.DurableOptions{Partitions: 2})
			if err != nil {
				t.Fatal(err)
			}
			sub, err := bus.Subscriber("counters", events.SubscriberOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := counted.Handle(sub, "*", func(context.Context, events.Event[int]) error { return nil }); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- sub.Run(ctx) }()
			<-sub.Ready()
			stop() // the group stays, and no process handles its events
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if err := counted.Publish(t.Context(), bus, "numbers", 1); err != nil {
				t.Fatal(err)
			}
			return func() { redstarttest.Drain(server, bus) }
		}, []string{"bus 0 is not drained", "run a subscriber of each group"}},
		"Heal": {func(_ testing.TB, server *redstarttest.Server) func() {
			server.Client()
			server.Break()
			unreachable(server)
			return server.Heal
		}, []string{"heal: a client does not reach the server"}},
		"Resume": {func(_ testing.TB, server *redstarttest.Server) func() {
			server.Client()
			server.Hang()
			unreachable(server)
			return server.Resume
		}, []string{"resume: a client does not reach the server"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var took time.Duration
				wantFailure(t, func(spy testing.TB) {
					server := redstarttest.Start(spy)
					wait := helper.begin(spy, server)
					defer func(began time.Time) { took = time.Since(began) }(time.Now())
					wait()
				}, helper.parts...)
				if took < 30*time.Second || took > 31*time.Second {
					t.Errorf("the helper waited for %v, want 30 s", took)
				}
			})
		})
	}
}
