package session_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// displacedBy collects the ids of EventDisplaced.
type displacedBy struct {
	mu  sync.Mutex
	ids []string
}

func (d *displacedBy) onEvent(_ context.Context, e session.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Kind == session.EventDisplaced && e.User == "ada" && e.Count == 1 {
		d.ids = append(d.ids, e.ID)
	}
}

// take returns the ids since the last call.
func (d *displacedBy) take() (ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids, d.ids = d.ids, nil
	return ids
}

// Each way to start a session reports the sessions that MaxPerUser ended, with one event per
// session.
func TestDisplacedSessionsAreReported(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		var events displacedBy
		wide := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{MaxPerUser: 2, OnEvent: events.onEvent})
		expect := func(what string, want ...*sess) {
			t.Helper()
			var ids []string
			for _, s := range want {
				ids = append(ids, s.ID())
			}
			if got := events.take(); !slices.Equal(got, ids) {
				t.Errorf("%s: displaced %v, want %v", what, got, ids)
			}
		}
		create := func() *sess { t.Helper(); return must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember())) }

		first, second := create(), create()
		expect("within the limit")
		third := create()
		expect("Create", first)
		visitor := must[*sess](t)(m.Create(ctx, "", cart{}))
		ok(t, visitor.Login(ctx, "ada"))
		expect("a visitor's Login", second)
		ok(t, visitor.Login(ctx, "ada"))
		expect("a Login of the same user displaces none")
		eve := must[*sess](t)(m.Create(ctx, "eve", cart{}))
		ok(t, eve.Login(ctx, "ada"))
		expect("a Login from another user's session", third)

		// A remember-me token whose session has ended starts another session.
		must[int](t)(m.RevokeUser(ctx, "ada"))
		token := create()
		ok(t, must[*sess](t)(wide.Load(ctx, token.Token())).Update(ctx, func(c *cart) error { c.N++; return nil }))
		oldest, older, old := must[*sess](t)(wide.Create(ctx, "ada", cart{})),
			must[*sess](t)(wide.Create(ctx, "ada", cart{})), must[*sess](t)(wide.Create(ctx, "ada", cart{}))
		expect("a manager without the limit")
		must[*sess](t)(m.Recall(ctx, token.RememberToken()))
		expect("Recall", oldest, older)
		must[*sess](t)(wide.Load(ctx, old.Token()))

		if n := m.Stats().Displaced; n != 5 {
			t.Errorf("%d displaced", n)
		}
	})
}

// The login fails, but the sessions that it displaced have ended and are reported.
func TestDisplacedByALoginThatIsUndone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var events displacedBy
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	m := manager(t, client, session.Options{MaxPerUser: 1, OnEvent: events.onEvent})
	displaced := must[*sess](t)(m.Create(ctx, "ada", cart{}))
	eve := must[*sess](t)(m.Create(ctx, "eve", cart{}))
	rig.ArmOnce(t, session.Points(m), "write", "finish", func() { must[int](t)(m.RevokeUser(ctx, "eve")) })
	if err := eve.Login(ctx, "ada"); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("a login whose old session was revoked between its steps: %v", err)
	}
	if got := events.take(); !slices.Equal(got, []string{displaced.ID()}) {
		t.Errorf("displaced %v, want %v", got, displaced.ID())
	}
}

// OnEvent may call the session that it reports.
func TestDisplacedRunsOutsideLocks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var s *sess
	calls := 0
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		session.Options{MaxPerUser: 1, OnEvent: func(ctx context.Context, e session.Event) {
			if e.Kind == session.EventDisplaced {
				calls++
				if err := s.Renew(ctx); err != nil {
					t.Errorf("renew: %v", err)
				}
			}
		}})
	must[*sess](t)(m.Create(ctx, "ada", cart{}))
	s = must[*sess](t)(m.Create(ctx, "", cart{}))
	ok(t, s.Login(ctx, "ada"))
	if calls != 1 {
		t.Errorf("%d events", calls)
	}
}
