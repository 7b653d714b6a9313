package hub_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
)

// unreachable is a call layer without a server: its subscriptions stay pending.
type unreachable struct{ source }

func (u *unreachable) Dedicate(context.Context, string) (rueidis.DedicatedClient, func(), error) {
	return nil, nil, errors.New("unreachable")
}

// A node refuses a pending subscription twice, before Subscribe has returned. Subscribe returns the
// first refusal. The race detector sees whether the second one is written while Subscribe reads.
func TestSubscribeReturnsTheFirstRefusal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	u := &unreachable{source{ctx: ctx}}
	defer u.running.Wait()
	defer cancel()
	h := hub.New(u)

	first := fault.New(fault.ErrDenied, errors.New("first"), "")
	second := fault.New(fault.ErrDenied, errors.New("second"), "")
	for i := range 200 {
		name := fmt.Sprint("c", i)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := h.Subscribe(ctx, name, hub.Receiver{}); err != first {
				t.Errorf("Subscribe returned %v, want the first refusal", err)
			}
		})
		for !hub.Refuse(h, name, first) {
			runtime.Gosched()
		}
		hub.Refuse(h, name, second)
		wg.Wait()
	}
}
