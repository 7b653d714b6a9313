package session_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// 50 writers update one session at the same time, each with its own Session, from two clients.
func TestS3_ConcurrentUpdatesAllSurvive(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		managers := []*mgr{manager(t, open(t, e.URL, e.Namespace), session.Options{}),
			manager(t, open(t, e.URL, e.Namespace), session.Options{})}
		s := must[*sess](t)(managers[0].Create(ctx, "ada", cart{Items: map[string]int{}}))
		var wg sync.WaitGroup
		const writers, each = 50, 4
		for w := range writers {
			wg.Go(func() {
				mine, err := managers[w%2].Load(ctx, s.Token())
				if err != nil {
					t.Error(err)
					return
				}
				for range each {
					err := mine.Update(ctx, func(c *cart) error { c.Items[fmt.Sprint(w)]++; c.N++; return nil })
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		data := must[cart](t)(must[*sess](t)(managers[0].Load(ctx, s.Token())).Data(ctx))
		if data.N != writers*each || len(data.Items) != writers {
			t.Errorf("%d of %d updates survived", data.N, writers*each)
		}
	})
}

// Data that an Update has stored is in the session after a concurrent login. An Update that could
// not store its data returns an error.
func TestS3_UpdatesAroundALogin(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		there, here := manager(t, client, session.Options{}), manager(t, client, session.Options{})
		for _, from := range []string{"", "ada", "bob"} { // a visitor, another user, the same user
			s := must[*sess](t)(here.Create(ctx, from, cart{}))
			other := must[*sess](t)(there.Load(ctx, s.Token()))
			stored := 0
			disarm := rig.Arm(t, session.Points(here), "write", func(verb string) error {
				switch verb {
				case "leave", "create", "move":
					if stored >= 3 {
						return nil // otherwise login and update would chase each other
					}
					err := other.Update(ctx, func(c *cart) error { c.N++; return nil })
					if err == nil {
						stored++
					} else if !errors.Is(err, session.ErrNotFound) {
						t.Error(err)
					}
				}
				return nil
			})
			ok(t, s.Login(ctx, "bob"))
			disarm()
			data := must[cart](t)(must[*sess](t)(there.Load(ctx, s.Token())).Data(ctx))
			want := stored
			if from == "ada" {
				want = 0 // the data of another user is dropped
			}
			if data.N != want || stored == 0 {
				t.Errorf("from %q: %d updates were stored, %d survived", from, stored, data.N)
			}
			if err := other.Update(ctx, func(c *cart) error { c.N++; return nil }); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("from %q: an update of the session before the login: %v", from, err)
			}
		}
	})
}

// Several goroutines call one Session. Every update is stored, and the Session shows the result.
func TestS3_OneSessionManyGoroutines(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	ctx := t.Context()
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			var err error
			switch {
			case i == 20:
				err = s.Renew(ctx)
			default:
				err = s.Update(ctx, func(c *cart) error { c.N++; return nil })
			}
			if err != nil {
				t.Error(err)
			}
			if _, err := s.Data(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if data := must[cart](t)(s.Data(ctx)); data.N != 39 {
		t.Errorf("%d of 39 updates are shown", data.N)
	}
	if data := must[cart](t)(must[*sess](t)(m.Load(ctx, s.Token())).Data(ctx)); data.N != 39 {
		t.Errorf("%d of 39 updates are stored", data.N)
	}
}

func TestUpdateThatChangesNothingWritesNothing(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	ctx := t.Context()
	s := must[*sess](t)(m.Create(ctx, "ada", cart{N: 1}))
	ok(t, s.Update(ctx, func(c *cart) error { c.N = 1; return nil }))
	mine := errors.New("no")
	if err := s.Update(ctx, func(c *cart) error { c.N = 2; return mine }); err != mine {
		t.Errorf("the error of change was returned as %v", err)
	}
	if data := must[cart](t)(s.Data(ctx)); data.N != 1 {
		t.Errorf("a failed change is visible: %+v", data)
	}
	if saved := m.Stats().Saved; saved != 0 {
		t.Errorf("%d writes", saved)
	}
}
