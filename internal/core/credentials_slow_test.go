package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// withUser adds the user ada to a server.
func withUser(t *testing.T) (s *rig.Server, ada rueidis.AuthCredentials) {
	t.Helper()
	s = rig.Standalone(t)
	s.CLI("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all")
	return s, rueidis.AuthCredentials{Username: "ada", Password: "secret"}
}

// The connection of Pub/Sub logs in again after each RefreshAfter. A failure, a panic and a wrong
// password of the callback leave it open, and the callback is asked again. The Core forgets a
// connection that has ended.
func TestPubSubLogsInAgain(t *testing.T) {
	t.Parallel()
	s, ada := withUser(t)
	state := atomic.Int64{}
	var lines atomic.Int64
	logger := slog.New(counting{&lines})
	c := open(t, s.URL(), func(o *core.Options) {
		o.Logger = logger
		o.Credentials = func(context.Context) (rueidis.AuthCredentials, error) {
			got := ada
			got.RefreshAfter = time.Now()
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
	_, l := subscribe(t, c, space(t, c, "mail").Key("ada"))
	id := pubsubIDs(s)
	if len(id) != 1 || core.Lent(c) != 1 {
		t.Fatalf("connections %q, %d of them renewed, want one", id, core.Lent(c))
	}
	for next := range int64(5) {
		state.Store(next)
		// the last command of the connection is the subscription, until the next login
		subscribe(t, c, space(t, c, "mail").Key(fmt.Sprint("bob", next)))
		rig.Eventually(t, 20*time.Second, "the connection logs in", func() bool {
			return strings.Contains(s.CLI("CLIENT", "LIST", "TYPE", "pubsub"), "cmd=auth")
		})
	}
	if now := pubsubIDs(s); len(now) != 1 || now[0] != id[0] {
		t.Errorf("connections %q, were %q", now, id)
	}
	l.silent(t)
	if n := lines.Load(); n > 3 { // one for each message and node; more follow after 10 s
		t.Errorf("%d warnings about the callback and the logins", n)
	}

	for range 3 {
		s.CLI("CLIENT", "KILL", "TYPE", "pubsub")
		l.next(t, "lost")
		l.next(t, "restored")
	}
	if n := core.Lent(c); n != 1 {
		t.Errorf("%d connections are renewed, want 1", n)
	}
}

// pubsubIDs returns the numbers of the connections that have a subscription.
func pubsubIDs(s *rig.Server) (ids []string) {
	for line := range strings.Lines(s.CLI("CLIENT", "LIST", "TYPE", "pubsub")) {
		if id, _, ok := strings.Cut(line, " "); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// counting counts warnings.
type counting struct{ lines *atomic.Int64 }

func (c counting) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (c counting) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "redentials") {
		c.lines.Add(1)
	}
	return nil
}
func (c counting) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c counting) WithGroup(string) slog.Handler      { return c }

// A refused login is tried again soon, whatever RefreshAfter is.
func TestRefusedLoginIsTriedAgain(t *testing.T) {
	t.Parallel()
	s, ada := withUser(t)
	asked := atomic.Int64{}
	open(t, s.URL(), func(o *core.Options) {
		o.Credentials = func(context.Context) (rueidis.AuthCredentials, error) {
			got := ada
			switch asked.Add(1) {
			case 1:
				got.RefreshAfter = time.Now()
			case 2:
				got.Password = "wrong"
				got.RefreshAfter = time.Now().Add(time.Hour)
			}
			return got, nil
		}
	})
	rig.Eventually(t, 20*time.Second, "a login after the refused one", func() bool { return asked.Load() >= 3 })
}

// A RefreshAfter beyond the range of nanoseconds since 1970 is far away. A connection with the
// RefreshAfter now shows that the time for questions has come.
func TestRefreshAfterInTheYear9999(t *testing.T) {
	t.Parallel()
	s, ada := withUser(t)
	count := func(refresh time.Time) *atomic.Int64 {
		asked := &atomic.Int64{}
		open(t, s.URL(), func(o *core.Options) {
			o.Credentials = func(context.Context) (rueidis.AuthCredentials, error) {
				asked.Add(1)
				got := ada
				got.RefreshAfter = refresh
				return got, nil
			}
		})
		return asked
	}
	far, now := count(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)), count(time.Now())
	rig.Eventually(t, 20*time.Second, "questions of the control", func() bool { return now.Load() >= 4 })
	if n := far.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// A callback that ignores its context and never returns takes few goroutines. Connections continue
// with the last credentials: the open one, and new ones. A client without earlier credentials gets
// an error within the command timeout.
func TestCredentialsCallbackThatNeverReturns(t *testing.T) {
	t.Parallel()
	s, ada := withUser(t)
	proxy := rig.NewProxy(t, s.Addr())
	release := make(chan struct{})
	defer close(release)
	asked, blocked := atomic.Int64{}, atomic.Int64{}
	stuck := func(context.Context) (rueidis.AuthCredentials, error) {
		if asked.Add(1) > 1 {
			blocked.Add(1)
			<-release
			blocked.Add(-1)
		}
		got := ada
		got.RefreshAfter = time.Now()
		return got, nil
	}
	c := open(t, proxy.URL(), func(o *core.Options) { o.Credentials = stuck })
	rig.Eventually(t, 20*time.Second, "a call that does not return", func() bool { return blocked.Load() > 0 })
	for range 3 {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Error(err)
		}
		proxy.Cut()
		rig.Eventually(t, 20*time.Second, "a new connection", func() bool { return get(t.Context(), c, "k") == nil })
	}
	subscribe(t, c, space(t, c, "mail").Key("ada"))
	if n := blocked.Load(); n > 4 {
		t.Errorf("%d calls of the callback have not returned, the limit is 4", n)
	}

	e := c.Timeout()
	_, err := openErr(t, s.URL(), func(o *core.Options) { o.Credentials, o.CommandTimeout = stuck, e/4 })
	if !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "Config.Credentials") {
		t.Errorf("without earlier credentials: %v, want ErrUnavailable that names the callback", err)
	}
}

// A callback that takes longer than the command timeout is not asked in vain: its answer serves the
// next connection.
func TestSlowCredentialsCallback(t *testing.T) {
	t.Parallel()
	s, ada := withUser(t)
	c := open(t, s.URL(), timeout(500*time.Millisecond), func(o *core.Options) {
		o.Lazy = true
		o.Credentials = func(ctx context.Context) (rueidis.AuthCredentials, error) {
			timer := time.NewTimer(time.Second)
			defer timer.Stop()
			select {
			case <-timer.C:
				return ada, nil
			case <-ctx.Done():
				return rueidis.AuthCredentials{}, ctx.Err()
			}
		}
	})
	if err := get(t.Context(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
		t.Errorf("the first call returned %v, want ErrUnavailable", err)
	}
	rig.Eventually(t, 20*time.Second, "a connection", func() bool { return get(t.Context(), c, "k") == nil })
}

// A callback that ends its goroutine is a failure, like a panic.
func TestCredentialsCallbackThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	s, _ := withUser(t)
	_, err := openErr(t, s.URL(), func(o *core.Options) {
		o.Credentials = func(context.Context) (rueidis.AuthCredentials, error) {
			runtime.Goexit()
			return rueidis.AuthCredentials{}, nil
		}
	})
	if err == nil || !strings.Contains(err.Error(), "ended its goroutine") {
		t.Errorf("%v, want an error that names the end of the goroutine", err)
	}
}

// Calls of the callback that ignore the end of their context are at most four. When they return,
// the callback is asked again.
func TestCredentialsCallsAreBounded(t *testing.T) {
	t.Parallel()
	s, ada := withUser(t)
	release := make(chan struct{})
	blocked := atomic.Int64{}
	c := open(t, s.URL(), timeout(10*time.Millisecond), func(o *core.Options) {
		o.Lazy = true
		o.Credentials = func(context.Context) (rueidis.AuthCredentials, error) {
			blocked.Add(1)
			defer blocked.Add(-1)
			<-release
			return ada, nil
		}
	})
	core.AnswerWithin(c, 10*time.Millisecond)
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		return core.Login(ctx, c)
	}
	rig.Eventually(t, 20*time.Second, "a refused question", func() bool {
		err := ask()
		return errors.Is(err, fault.ErrUnavailable) && strings.Contains(err.Error(), "4 calls of Config.Credentials")
	})
	for range 10 {
		_ = ask()
	}
	if n := blocked.Load(); n != 4 {
		t.Errorf("%d calls have not returned, want 4", n)
	}
	close(release)
	rig.Eventually(t, 20*time.Second, "an answer", func() bool { return ask() == nil })
}
