package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// A server stalls while hundreds of loads request their leases, and the callers leave. The server
// grants these leases when it continues. None of them stays: a lease lasts an hour here, and no
// process loads under it.
func TestC2_LeasesOfCallersThatLeftAreReleased(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{200, 600} {
		t.Run(fmt.Sprint(burst), func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app"}), cache.Options{LoadTimeout: time.Hour})
			// the first command of a load requests its lease
			rig.Arm(t, c.Points(), "optimistic", func(string) error { return errors.New("absent") })
			if err := c.Set(t.Context(), "first", before); err != nil {
				t.Fatal(err)
			}
			unavailable := func(context.Context, string) (user, error) { return user{}, errAway }
			requested := server.CommandStats()["set"]

			server.Stop()
			var wg sync.WaitGroup
			for i := range burst {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					if _, err := c.GetOrLoad(ctx, fmt.Sprint("key", i), unavailable); err == nil {
						t.Error("a stopped server answered")
					}
				})
			}
			wg.Wait()
			server.Continue()

			free := func() bool { return !strings.Contains(server.CLI("KEYS", "*"), ":lease") }
			rig.Eventually(t, 20*time.Second, "leases are granted",
				func() bool { return server.CommandStats()["set"] > requested+1 })
			if err := c.Set(t.Context(), "last", after); err != nil { // the connection has sent what it had
				t.Fatal(err)
			}
			rig.Eventually(t, 20*time.Second, "no lease is left", free)
		})
	}
}
