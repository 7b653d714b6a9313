package redstartgocron

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/redstart-go/redstart/lock"
)

// ErrNotLeader reports that another process leads, or that no process leads at the moment.
var ErrNotLeader = errors.New("redstartgocron: this process does not lead")

// pause is the time between the end of a campaign and the next one.
const pause = time.Second

// Elector is a gocron.Elector: its scheduler runs jobs while this process leads an election. Use
// [NewElector]. Its methods are safe for concurrent use.
type Elector struct {
	stop  context.CancelFunc
	ended sync.WaitGroup
	held  atomic.Pointer[lock.Lock] // of the last term; its Err is nil while this process leads
	last  atomic.Pointer[error]     // the error of the last campaign
}

var _ gocron.Elector = (*Elector)(nil)

// NewElector returns an Elector that campaigns until [Elector.Close]. If a campaign ends, by
// election.Resign or by an error that is not temporary, the next one starts after 1 s.
func NewElector(election *lock.Election) *Elector {
	ctx, stop := context.WithCancel(context.Background())
	e := &Elector{stop: stop}
	e.ended.Go(func() {
		for ctx.Err() == nil {
			err := election.Campaign(ctx, e.lead)
			e.last.Store(&err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
	return e
}

// lead makes this process the leader until its term ends.
func (e *Elector) lead(ctx context.Context, held *lock.Lock) error {
	e.held.Store(held)
	<-ctx.Done()
	return nil
}

// IsLeader returns nil while this process leads. Otherwise it returns [ErrNotLeader], joined with
// the error that ended the last campaign. It takes no round trip. It is right immediately after a
// pause of the process.
func (e *Elector) IsLeader(context.Context) error {
	if e.Held() != nil {
		return nil
	}
	if last := e.last.Load(); last != nil {
		return fmt.Errorf("%w: %w", ErrNotLeader, *last)
	}
	return ErrNotLeader
}

// Held returns the lock of the leader, for its fencing token. It returns nil if this process does
// not lead.
func (e *Elector) Held() *lock.Lock {
	if held := e.held.Load(); held != nil && held.Err() == nil {
		return held
	}
	return nil
}

// Close ends the campaign and releases the leadership. It takes at most one round trip, which the
// command timeout of the client bounds. Shut the scheduler down first.
func (e *Elector) Close() {
	e.stop()
	e.ended.Wait()
}
