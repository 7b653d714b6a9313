package redstart_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// tokens issues passwords that end after their lifetime, like IAM. The servers accept the current
// password and the one before it.
type tokens struct {
	lifetime time.Duration
	servers  []*rig.Server
	asked    atomic.Int64
	failing  atomic.Bool
	failNext atomic.Int64 // the number of next calls that fail

	mu      sync.Mutex
	n       int
	expires time.Time
}

func (s *tokens) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.expires = time.Now().Add(s.lifetime)
	rules := []string{"ACL", "SETUSER", "ada", "on", "resetpass", s.password(s.n), s.password(s.n - 1), "~*", "&*", "+@all"}
	for _, server := range s.servers {
		server.CLI(rules...)
	}
}

func (s *tokens) password(n int) string { return fmt.Sprint(">token-", n) }

func (s *tokens) credentials(context.Context) (redstart.Credentials, error) {
	s.asked.Add(1)
	if s.failing.Load() || s.failNext.Add(-1) >= 0 {
		return redstart.Credentials{}, errors.New("the token service is down")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return redstart.Credentials{Username: "ada", Password: s.password(s.n)[1:],
		RefreshAfter: s.expires.Add(-s.lifetime / 2)}, nil
}

// auths returns the numbers of AUTH commands that succeeded and that failed.
func (s *tokens) auths() (ok int64, failed string) {
	for _, server := range s.servers {
		ok += server.CommandStats()["auth"]
		failed += server.CLI("ACL", "LOG")
	}
	return ok, failed
}

// A token ends after 2 s. The client is idle for three lifetimes, and a subscriber waits. Each
// connection logs in again before its token ends: the shared one, the ones of the client library,
// and the one for Pub/Sub. In each lifetime the callback fails once. No call fails, and no event is
// lost.
func TestCredentialsThatExpire(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	for name, start := range map[string]func(t *testing.T) (url string, servers []*rig.Server){
		"standalone": func(t *testing.T) (string, []*rig.Server) {
			s := rig.Standalone(t)
			return s.URL(), []*rig.Server{s}
		},
		"cluster": func(t *testing.T) (string, []*rig.Server) {
			c := rig.NewCluster(t)
			return c.URL(), c.Nodes()
		},
		"Sentinel": func(t *testing.T) (string, []*rig.Server) {
			s := rig.NewSentinel(t)
			return s.URL(), s.Servers()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, servers := start(t)
			credentialsExpire(t, url, servers)
		})
	}
}

func credentialsExpire(t *testing.T, url string, servers []*rig.Server) {
	issued := &tokens{lifetime: 2 * time.Second, servers: servers}
	issued.rotate()
	c := open(t, redstart.Config{URL: url, Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second,
		Credentials: issued.credentials})
	bus := must(events.NewLive(c, events.LiveOptions{}))
	got := make(chan int, 16)
	gaps := atomic.Int64{}
	topic := events.NewTopic[soakEvent]("orders")
	sub := must(bus.Subscriber("mail", events.SubscriberOptions{OnGap: func(events.Gap) { gaps.Add(1) }}))
	receive := func(_ context.Context, e events.Event[soakEvent]) error { got <- e.Data.N; return nil }
	if err := topic.Handle(sub, "ada", receive); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	select {
	case <-sub.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the subscriber is not ready")
	}
	managedLimit(t, c, c) // opens the connections of several nodes
	connections := issued.asked.Load()

	for range 3 { // nothing is called in the meantime
		<-time.After(issued.lifetime)
		issued.rotate()
		issued.failNext.Store(1)
	}
	if asked := issued.asked.Load(); asked < 3*connections {
		t.Errorf("asked for credentials %d times, want %d connections at least 3 times each", asked, connections)
	}
	ok, failed := issued.auths()
	if ok < 2*connections || failed != "" {
		t.Errorf("%d AUTH commands for %d connections; refused: %q", ok, connections, failed)
	}

	// The token service fails for one lifetime. The connections stay.
	issued.failing.Store(true)
	<-time.After(issued.lifetime)
	managedSession(t, c, c)
	issued.failing.Store(false)

	for i := range 3 {
		if err := topic.Publish(t.Context(), bus, "ada", soakEvent{i}); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != i {
			t.Fatalf("event %d, want %d", n, i)
		}
	}
	if gaps.Load() > 0 {
		t.Errorf("%d gaps", gaps.Load())
	}
	managedSession(t, c, c)
}
