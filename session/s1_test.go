package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

type (
	sess = session.Session[cart]
	mgr  = session.Manager[cart]
)

// endings are all calls that end a session, by another process.
var endings = map[string]func(ctx context.Context, m *mgr, s *sess) error{
	"destroy": func(ctx context.Context, m *mgr, s *sess) error {
		other, err := m.Load(ctx, s.Token())
		if err != nil {
			return err
		}
		return other.Destroy(ctx)
	},
	"revoke": func(ctx context.Context, m *mgr, s *sess) error { return m.Revoke(ctx, s.User(), s.ID()) },
	"revoke user": func(ctx context.Context, m *mgr, s *sess) error {
		_, err := m.RevokeUser(ctx, s.User())
		return err
	},
	"revoke others": func(ctx context.Context, m *mgr, s *sess) error {
		other, err := m.Create(ctx, s.User(), cart{})
		if err != nil {
			return err
		}
		_, err = other.RevokeOthers(ctx)
		return err
	},
}

// writes are all calls that write a session.
var writes = map[string]struct {
	verb string
	run  func(ctx context.Context, s *sess) error
}{
	"update": {"save", func(ctx context.Context, s *sess) error {
		return s.Update(ctx, func(c *cart) error { c.N++; return nil })
	}},
	"flash":             {"save", func(ctx context.Context, s *sess) error { return s.Flash(ctx, "k", "t") }},
	"renew":             {"save", func(ctx context.Context, s *sess) error { return s.Renew(ctx) }},
	"login, same user":  {"create", func(ctx context.Context, s *sess) error { return s.Login(ctx, "ada") }},
	"login, other user": {"leave", func(ctx context.Context, s *sess) error { return s.Login(ctx, "bob") }},
	"login, remember user": {"create", func(ctx context.Context,
		s *sess) error {
		return s.Login(ctx, "ada", session.Remember())
	}},
}

// Each write is held between its read and its write. Each way to end a session ends it from the
// client of another process. Then the write continues, and must not restore the session.
func TestS1_NoWriteRevivesARevokedSession(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		there := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		client := open(t, e.URL, e.Namespace)
		for ending, end := range endings {
			for name, write := range writes {
				here := manager(t, client, session.Options{})
				s := must[*sess](t)(here.Create(ctx, "ada", cart{N: 1}))
				token := s.Token()
				held, reached := make(chan struct{}), make(chan struct{}, 1)
				rig.ArmOnce(t, session.Points(here), "write", write.verb, func() {
					reached <- struct{}{}
					<-held
				})
				result := make(chan error, 1)
				go func() { result <- write.run(ctx, s) }()
				<-reached
				same := must[*sess](t)(there.Load(ctx, token))
				ok(t, end(ctx, there, same))
				if _, err := there.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
					t.Fatalf("%s: the next load: %v", ending, err)
				}
				close(held)
				if err := <-result; !errors.Is(err, session.ErrNotFound) {
					t.Errorf("%s during %s: %v, want ErrNotFound", ending, name, err)
				}
				for _, token := range []string{token, s.Token()} {
					if _, err := here.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
						t.Errorf("%s during %s: the session works: %v", ending, name, err)
					}
				}
				for _, user := range []string{"ada", "bob"} {
					for _, info := range must[[]session.Info](t)(there.List(ctx, user)) {
						if ending != "revoke others" || user != "ada" || info.ID == s.ID() {
							t.Errorf("%s during %s: %s has a session", ending, name, user)
						}
					}
				}
				must[int](t)(there.RevokeUser(ctx, "ada"))
			}
		}
	})
}

// A touch that is in flight when the session ends must not restore it.
func TestS1_NoTouchRevivesARevokedSession(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		there := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		here := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		for ending, end := range endings {
			s := must[*sess](t)(there.Create(ctx, "ada", cart{}))
			token := s.Token()
			session.SetSkew(here, int64(time.Hour/time.Millisecond)) // makes the next load touch
			disarm := rig.ArmOnce(t, session.Points(here), "write", "touch", func() { ok(t, end(ctx, there, s)) })
			if _, err := here.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s during a touch: %v", ending, err)
			}
			disarm()
			if _, err := there.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s during a touch: the session works: %v", ending, err)
			}
			must[int](t)(there.RevokeUser(ctx, "ada"))
		}
	})
}

// A login to another slot has three steps. If the old session ends between two steps, the user is
// logged out. There are never two sessions.
func TestS1_RevokedBetweenTheStepsOfALogin(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		there := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		here := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		s := must[*sess](t)(here.Create(ctx, "ada", cart{N: 5}))
		old, oldID := s.Token(), s.ID()
		rig.ArmOnce(t, session.Points(here), "write", "move", func() {
			if _, err := there.Load(ctx, old); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("the old token works between the steps: %v", err)
			}
			ok(t, there.Revoke(ctx, "ada", oldID)) // a moving session can be revoked
		})
		if err := s.Login(ctx, "bob"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a login whose session was revoked concurrently: %v", err)
		}
		if n := len(must[[]session.Info](t)(there.List(ctx, "bob"))); n != 0 {
			t.Errorf("bob has %d sessions", n)
		}
		if n := len(must[[]session.Info](t)(there.List(ctx, "ada"))); n != 0 {
			t.Errorf("ada has %d sessions", n)
		}
	})
}

// A login whose second step certainly failed is undone, unless the session was revoked in between.
func TestS1_AFailedLoginRestoresOnlyALiveSession(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, revoke := range []bool{false, true} {
			failedLogin(t, e, revoke)
		}
	})
}

// failedLogin cancels a login before its second step is sent, so that this step certainly fails.
func failedLogin(t *testing.T, e rig.Engine, revoke bool) {
	there := manager(t, open(t, e.URL, e.Namespace), session.Options{})
	here := manager(t, open(t, e.URL, e.Namespace), session.Options{})
	s := must[*sess](t)(here.Create(t.Context(), "ada", cart{N: 3}))
	token := s.Token()
	ctx, cancel := context.WithCancel(t.Context())
	rig.ArmOnce(t, session.Points(here), "write", "move", func() {
		if revoke {
			ok(t, there.Revoke(t.Context(), "ada", s.ID()))
		}
		cancel()
	})
	if err := s.Login(ctx, "bob"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_, err := there.Load(t.Context(), token)
	if revoke != errors.Is(err, session.ErrNotFound) {
		t.Errorf("revoked %v: %v", revoke, err)
	}
	if n := len(must[[]session.Info](t)(there.List(t.Context(), "bob"))); n != 0 {
		t.Errorf("bob has %d sessions", n)
	}
	if !revoke {
		ok(t, s.Update(t.Context(), func(c *cart) error { c.N++; return nil }))
	}
}

// The remember-me token ends with its session, so it can't start a new one.
func TestS1_RememberedTokensEndToo(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		m := manager(t, client, session.Options{})
		for ending, end := range endings {
			s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
			recalled := must[*sess](t)(m.Recall(ctx, s.RememberToken()))
			ok(t, end(ctx, m, recalled))
			for _, token := range []string{s.RememberToken(), recalled.RememberToken()} {
				if _, err := m.Recall(ctx, token); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("%s: the remember-me token works: %v", ending, err)
				}
			}
			must[int](t)(m.RevokeUser(ctx, "ada"))
		}
		// Revoke also accepts the id of a session that has expired after the list was read.
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
		c := clientcore.Of(client)
		if _, err := c.Do(ctx, core.Write("DEL", session.Key(m, s.Token()))); err != nil {
			t.Fatal(err)
		}
		list := must[[]session.Info](t)(m.List(ctx, "ada"))
		if len(list) != 1 || !list[0].Remembered {
			t.Fatalf("%+v", list)
		}
		ok(t, m.Revoke(ctx, "ada", s.ID()))
		if _, err := m.Recall(ctx, s.RememberToken()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the remember-me token of an expired session works: %v", err)
		}
	})
}

// The grace period of a replaced token ends with the session.
func TestS1_GraceNeverOutlivesALogout(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		for ending, end := range endings {
			s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
			first := s.Token()
			ok(t, s.Renew(ctx))
			second := s.Token()
			ok(t, s.Renew(ctx))
			for _, token := range []string{first, second, s.Token()} {
				must[*sess](t)(m.Load(ctx, token))
			}
			ok(t, end(ctx, m, s))
			for _, token := range []string{first, second, s.Token()} {
				if _, err := m.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("%s: a token works: %v", ending, err)
				}
			}
			must[int](t)(m.RevokeUser(ctx, "ada"))
		}
		// A login invalidates the old token and its predecessors at once.
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
		first := s.Token()
		ok(t, s.Renew(ctx))
		second := s.Token()
		ok(t, s.Login(ctx, "ada"))
		for _, token := range []string{first, second} {
			if _, err := m.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("an old token works after a login: %v", err)
			}
		}
	})
}

// With MinReplicas a revocation is confirmed, or returns an error and can be repeated.
func TestS1_ConfirmedByReplicas(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	ctx := t.Context()
	confirmed := session.Options{MinReplicas: 1, ReplicaWait: time.Second}
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		m := manager(t, open(t, rig.SharedSentinel(t).URL(), rig.Prefix(t)), confirmed)
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
		ok(t, m.Revoke(ctx, "ada", s.ID()))
		must[*sess](t)(m.Create(ctx, "ada", cart{}))
		if n := must[int](t)(m.RevokeUser(ctx, "ada")); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		m := manager(t, open(t, rig.SharedCluster(t).URL(), rig.Prefix(t)), confirmed)
		for _, user := range []string{"ada", "bob", "eve", "joe"} { // several nodes
			s := must[*sess](t)(m.Create(ctx, user, cart{}))
			ok(t, s.Destroy(ctx))
		}
	})
	t.Run("no replica", func(t *testing.T) {
		t.Parallel()
		m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
			session.Options{MinReplicas: 1, ReplicaWait: 20 * time.Millisecond})
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
		for range 2 {
			if err := s.Destroy(ctx); !errors.Is(err, redstart.ErrIndeterminate) {
				t.Errorf("without a confirmation: %v", err)
			}
		}
		if _, err := m.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the session has ended on the primary, but: %v", err)
		}
	})
}
