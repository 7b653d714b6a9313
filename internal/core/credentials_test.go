package core_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// An idle connection logs in again after each RefreshAfter. A failure, a panic and a wrong password
// of the callback leave the connection open, and it is asked again.
func TestCredentialsAreRenewedOnAnIdleConnection(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	s.CLI("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all")
	var asked, state atomic.Int64
	c := open(t, s.URL(), func(o *core.Options) {
		o.Credentials = func(context.Context) (rueidis.AuthCredentials, error) {
			asked.Add(1)
			got := rueidis.AuthCredentials{Username: "ada", Password: "secret", RefreshAfter: time.Now()}
			switch state.Load() {
			case 1:
				return got, errors.New("the token service is down")
			case 2:
				panic("a defect")
			case 3:
				got.Password = "wrong"
			}
			return got, nil
		}
	})
	before := core.Connections(c)
	for next := range int64(5) {
		state.Store(next)
		seen := asked.Load()
		rig.Eventually(t, 20*time.Second, "two more questions", func() bool { return asked.Load() >= seen+2 })
		if err := get(t.Context(), c, "k"); err != nil {
			t.Errorf("state %d: %v", next, err)
		}
	}
	if s.CommandStats()["auth"] < 6 {
		t.Errorf("%d AUTH commands", s.CommandStats()["auth"])
	}
	if now := core.Connections(c); now != before {
		t.Errorf("%d connections, were %d", now, before)
	}
}
