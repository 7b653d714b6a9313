package core_test

import (
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// As many replies as the leader reads at once arrive together, and no others follow. The leader's
// own reply is among them. The leader returns at once and does not wait for another read.
func TestALeaderReturnsWithItsReply(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	p := rig.NewProxy(t, server.Addr())
	const limit = 4 * time.Second
	c := open(t, p.URL(), timeout(limit))
	for callers := 14; callers <= 18; callers++ {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
		p.StallReplies()
		sent := p.Sent()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if err := get(t.Context(), c, "k"); err != nil {
					t.Error(err)
				}
			})
		}
		rig.Eventually(t, 2*time.Second, "all calls are sent", func() bool { return p.Sent() >= sent+int64(callers)*20 })
		watch := rig.Watch(t)
		p.Resume()
		wg.Wait()
		if took := watch.Took(); took > limit/4 {
			t.Errorf("%d callers: a call returned %v after its reply", callers, took)
		}
	}
}
