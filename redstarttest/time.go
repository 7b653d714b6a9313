package redstarttest

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// Advance moves the time forward by d, for the server and for all its clients in this process:
// TTLs, leases, limits that a client remembers, near-cached entries, due events. It is a jump, as
// if all machines were suspended for d. So a lock or a partition whose lease is shorter than d is
// lost, although its holder would have renewed it in d of real time. In a testing/synctest bubble,
// [time.Sleep] lets renewals happen.
//
// Advance moves neither time.Now of your code nor the limits of calls: the deadline of a context,
// CommandTimeout, the Wait of a lock. On a real server it fails the test.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	switch {
	case s.engine == nil:
		s.t.Fatal("redstarttest: advance: the server of REDSTART_TEST_URL has its own time: " +
			"unset the variable for this test with t.Setenv(\"REDSTART_TEST_URL\", \"\")")
	case d < 0:
		s.t.Fatalf("redstarttest: advance: %v is negative: time moves forward only", d)
	}
	s.engine.Advance(d)
}

// Settle waits until the clients of [Server.Client] do nothing in the background: refreshes, loads,
// touches, releases, replays of invalidations and returned tokens are done. Pushes of changes that
// were made before Settle have arrived. The loops that serve a subscriber, a holder of a lock or a
// waiter are not background work. While the server is broken or hangs, Settle fails the test.
func (s *Server) Settle() {
	s.t.Helper()
	ctx, cancel := s.within()
	defer cancel()
	for _, c := range s.cores() {
		if err := settle(ctx, c); err != nil {
			s.t.Fatalf("redstarttest: settle: %v: end the fault first (Heal, Resume), or let the callback return", err)
		}
	}
}

func settle(ctx context.Context, c *core.Core) error {
	if err := c.Group().Settle(ctx); err != nil {
		return err
	}
	// The server sends pushes before the answer of a later command on the same connection.
	if _, err := c.DoTracked(ctx, core.ReadAt("", "PING")); err != nil {
		return err
	}
	return c.Group().Settle(ctx) // of what the pushes have started
}

// pauses are the times between two looks of a helper.
type pauses struct{ next time.Duration }

const (
	pauseFirst = time.Millisecond
	pauseMax   = 50 * time.Millisecond
)

// wait waits before the next look.
func (p *pauses) wait(ctx context.Context) {
	p.next = min(max(2*p.next, pauseFirst), pauseMax)
	select {
	case <-time.After(p.next):
	case <-ctx.Done():
	}
}
