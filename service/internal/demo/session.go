package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/session"
)

const (
	owner  = "katherine"     // the user of the session story
	ending = 2 * time.Second // for the end of a window
)

// SessionStory ends sessions of one user in two instances: by a revocation, and by the second use
// of a stolen remember-me token.
type SessionStory struct {
	a, b *manager
	turn chan struct{} // one action at a time, because all have the same user
}

func newSessionStory(a, b *redstart.Client) (*SessionStory, error) {
	s := &SessionStory{turn: make(chan struct{}, 1)}
	var err error
	if s.a, err = openSessions(a); err != nil {
		return nil, err
	}
	s.b, err = openSessions(b)
	return s, err
}

// SessionStep is an action in a window of the story, and its time.
type SessionStep struct {
	Millis float64 `json:"ms"`     // since the start of the action
	Window string  `json:"window"` // laptop, phone or thief
	What   string  `json:"what"`   // login, revoke, recalled, returned, reused or ended
}

// SessionEnd is the result of an action. Its steps are in order of time.
type SessionEnd struct {
	Steps []SessionStep `json:"steps"`
	// Ended reports that the session of the other window is refused, and its remember-me token too.
	Ended bool `json:"ended"`
}

// story is one action while it goes on.
type story struct {
	start time.Time
	steps []SessionStep
}

func (s *story) add(window, what string) {
	s.steps = append(s.steps, SessionStep{millisOf(time.Since(s.start)), window, what})
}

// begin waits for the turn of an action, and ends the sessions of the action before.
func (s *SessionStory) begin(ctx context.Context) (end func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("demo: session story: wait for the action before: %w", ctx.Err())
	}
	if _, err := s.a.RevokeUser(ctx, owner); err != nil {
		<-s.turn
		return nil, err
	}
	return func() { <-s.turn }, nil
}

// Revoke logs a laptop in through instance A and a phone through instance B. The laptop revokes the
// phone, whose window watches its session.
func (s *SessionStory) Revoke(ctx context.Context) (SessionEnd, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return SessionEnd{}, err
	}
	defer end()
	steps := &story{start: time.Now()}
	if _, err := logIn(ctx, s.a, "laptop"); err != nil {
		return SessionEnd{}, err
	}
	steps.add("laptop", "login")
	phone, err := logIn(ctx, s.b, "phone")
	if err != nil {
		return SessionEnd{}, err
	}
	steps.add("phone", "login")
	return s.watch(ctx, steps, "phone", phone, func() error {
		steps.add("laptop", "revoke")
		return revoke(ctx, s.a, phone.ID())
	})
}

// Steal logs a laptop in and copies its remember-me token. The thief uses the copy through instance
// B, twice: the second use proves that the thief has the token that replaced it. Then the laptop
// comes back with its own token, which was replaced before.
func (s *SessionStory) Steal(ctx context.Context) (SessionEnd, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return SessionEnd{}, err
	}
	defer end()
	steps := &story{start: time.Now()}
	laptop, err := logIn(ctx, s.a, "laptop")
	if err != nil {
		return SessionEnd{}, err
	}
	steps.add("laptop", "login")
	thief, err := comeBack(ctx, s.b, laptop.RememberToken())
	if err != nil {
		return SessionEnd{}, err
	}
	steps.add("thief", "recalled")
	if thief, err = comeBack(ctx, s.b, thief.RememberToken()); err != nil {
		return SessionEnd{}, err
	}
	steps.add("thief", "returned")
	return s.watch(ctx, steps, "thief", thief, func() error {
		steps.add("laptop", "reused")
		_, err := comeBack(ctx, s.a, laptop.RememberToken())
		if errors.Is(err, session.ErrNotFound) {
			return nil // the laptop has to log in with the password
		}
		return err
	})
}

// watch watches the session of a window through B, runs last, and waits for the end of the session.
func (s *SessionStory) watch(ctx context.Context, steps *story, window string, of *visit,
	last func() error) (SessionEnd, error) {
	watched, cancel, err := of.Watch(ctx)
	if err != nil {
		return SessionEnd{}, err
	}
	defer cancel()
	if err := last(); err != nil {
		return SessionEnd{}, err
	}

	timer := time.NewTimer(ending)
	defer timer.Stop()
	select {
	case <-watched.Done():
		steps.add(window, "ended")
	case <-timer.C:
	}
	_, load := s.b.Load(ctx, of.Token())
	_, recall := comeBack(ctx, s.b, of.RememberToken())
	for _, err := range []error{load, recall} {
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return SessionEnd{}, err
		}
	}
	return SessionEnd{Steps: steps.steps, Ended: load != nil && recall != nil}, nil
}
