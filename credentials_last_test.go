package redstart_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The callback fails after its first answers. Connections that are opened from then on log in with
// the last answer: the shared one after a cut, the one of Client.Redis, and the one of Pub/Sub.
func TestLastCredentialsServeNewConnections(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	proxy := rig.NewProxy(t, s.Addr())
	issued := &tokens{lifetime: time.Hour, servers: []*rig.Server{s}}
	issued.rotate()
	c := open(t, redstart.Config{URL: proxy.URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second,
		Credentials: issued.credentials})
	key := rig.Prefix(t)
	if err := do(c, "GET", key); err != nil {
		t.Fatal(err)
	}

	issued.failing.Store(true)
	asked := issued.asked.Load()
	proxy.Cut()
	rig.Eventually(t, 20*time.Second, "the shared connection is open again", func() bool {
		return do(c, "GET", key) == nil
	})
	client, err := c.Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if user, err := client.Do(t.Context(), client.B().AclWhoami().Build()).ToString(); err != nil || user != "ada" {
		t.Errorf("Client.Redis is logged in as %q, %v", user, err)
	}
	live := must(events.NewLive(c, events.LiveOptions{}))
	managedEvents(t, live, live)
	if now := issued.asked.Load(); now < asked+3 {
		t.Errorf("the callback was asked %d times for three connections", now-asked)
	}
}

// A service ends connections whose login is older than the token. With RefreshAfter, the shared
// connection, the one of Client.Redis and the one of Pub/Sub log in again before that, and stay.
// With RESP2, a connection with a subscription can't log in: it is replaced, which is a gap.
// Without RefreshAfter all of them end, which shows that the service ends them.
func TestConnectionsLogInAgain(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const lifetime = 4 * time.Second
	for name, test := range map[string]struct {
		refresh  bool
		protocol int
	}{"RefreshAfter": {true, 0}, "RefreshAfter, RESP2": {true, 2}, "no RefreshAfter": {false, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rig.Standalone(t)
			s.CLI("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all")
			gateway, ended := rig.NewExpiringGateway(t, s.Addr(), lifetime)
			c := open(t, redstart.Config{URL: gateway.URL(), Namespace: rig.Prefix(t), CommandTimeout: 10 * time.Second,
				Protocol: test.protocol, Credentials: func(context.Context) (redstart.Credentials, error) {
					got := redstart.Credentials{Username: "ada", Password: "secret"}
					if test.refresh {
						got.RefreshAfter = time.Now().Add(lifetime / 4)
					}
					return got, nil
				}})
			client, err := c.Redis(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			gaps := subscribeAndCountGaps(t, c)
			managedLimit(t, c, c)
			before := connectionID(t, client)

			if !test.refresh {
				rig.Eventually(t, 10*lifetime, "the three connections end", func() bool { return ended() >= 3 && gaps.Load() > 0 })
				return
			}
			<-time.After(5 * lifetime / 2) // nothing is called in the meantime
			if after := connectionID(t, client); after != before {
				t.Errorf("the connection of Client.Redis was %d, is %d", before, after)
			}
			if ended() != 0 || (gaps.Load() > 0) != (test.protocol == 2) {
				t.Errorf("%d connections ended, with %d gaps of Pub/Sub", ended(), gaps.Load())
			}
		})
	}
}

// subscribeAndCountGaps starts a live subscriber that ends with the test.
func subscribeAndCountGaps(t *testing.T, c *redstart.Client) *atomic.Int64 {
	t.Helper()
	gaps := &atomic.Int64{}
	bus := must(events.NewLive(c, events.LiveOptions{}))
	sub := must(bus.Subscriber("mail", events.SubscriberOptions{OnGap: func(events.Gap) { gaps.Add(1) }}))
	ignore := func(context.Context, events.Event[soakEvent]) error { return nil }
	if err := events.NewTopic[soakEvent]("orders").Handle(sub, "ada", ignore); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = sub.Run(ctx) // ends with the context
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	<-sub.Ready()
	return gaps
}

// connectionID returns the server's number of the connection.
func connectionID(t *testing.T, client rueidis.Client) int64 {
	t.Helper()
	id, err := client.Do(t.Context(), client.B().ClientId().Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
