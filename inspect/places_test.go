package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

// place is a server with data, and two Inspectors of it.
type place struct {
	service *redstart.Client   // with all rights
	looks   *inspect.Inspector // read-only
	repairs *inspect.Inspector
	log     *auditLog
	conn    *rig.Conn // of the server or of a node; nil for the embedded engine
}

// auditLog collects the log of repairs.
type auditLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *auditLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// records returns one text per record: actor, pattern, action, object, part, changed.
func (l *auditLog) records(t testing.TB) (all []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var r struct {
			Actor, Pattern, Action, Object, Part string
			Changed                              int
		}
		must(t, json.Unmarshal([]byte(line), &r))
		all = append(all, fmt.Sprint(r.Actor, " ", r.Pattern, " ", r.Action, " ", r.Object, " ", r.Part, " ", r.Changed))
	}
	return all
}

// onPlaces runs a test on one server, in a cluster, on the embedded engine, and as the two shipped
// users.
func onPlaces(t *testing.T, keys map[string]inspect.SessionKeys, test func(t *testing.T, p place)) {
	at := func(service, looks, repairs, namespace string, conn func(testing.TB) *rig.Conn) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			p := place{service: open(t, service, namespace), log: &auditLog{}, conn: conn(t)}
			var err error
			p.looks, err = inspect.New(open(t, looks, namespace), inspect.Options{ReadOnly: true, SessionKeys: keys})
			must(t, err)
			p.repairs, err = inspect.New(open(t, repairs, namespace), inspect.Options{Actor: "ana", SessionKeys: keys,
				Logger: slog.New(slog.NewJSONHandler(p.log, nil))})
			must(t, err)
			test(t, p)
		}
	}
	one, cluster := rig.Shared(t), rig.SharedCluster(t)
	t.Run("one server", at(one.URL(), one.URL(), one.URL(), rig.Prefix(t)+"s", one.Conn))
	t.Run("cluster", at(cluster.URL(), cluster.URL(), cluster.URL(), rig.Prefix(t)+"c", cluster.Nodes()[0].Conn))
	t.Run("embedded engine", func(t *testing.T) {
		url := rig.Embedded(t).URL()
		at(url, url, url, "app", func(testing.TB) *rig.Conn { return nil })(t)
	})
	t.Run("shipped users", func(t *testing.T) {
		rig.Need(t, rig.TierAll)
		server, looks, repairs := shippedUsers(t)
		at("redis://"+server.Addr()+"/", looks, repairs, "app", server.Conn)(t)
	})
	t.Run("shipped users, cluster", func(t *testing.T) {
		rig.Need(t, rig.TierAll)
		cluster, password := rig.ACLCluster(t, bothUsers(t))
		at(cluster.URL(), userURL(cluster.URL(), "redstart-inspect", password),
			userURL(cluster.URL(), "redstart-operate", password), "app", cluster.Nodes()[0].Conn)(t)
	})
}

// shippedUsers starts a server with the users of deploy/acl for package inspect, and returns their
// URLs.
func shippedUsers(t testing.TB) (server *rig.Server, looks, repairs string) {
	t.Helper()
	server = rig.ACLServer(t, bothUsers(t))
	u, err := url.Parse(server.URL())
	must(t, err)
	password, _ := u.User.Password()
	plain := "redis://" + server.Addr() + "/"
	return server, userURL(plain, "redstart-inspect", password), userURL(plain, "redstart-operate", password)
}

// bothUsers returns a file with the users of deploy/acl for package inspect.
func bothUsers(t testing.TB) (file string) {
	t.Helper()
	var both []byte
	for _, name := range []string{"redstart-inspect.acl", "redstart-operate.acl"} {
		content, err := os.ReadFile(filepath.Join("..", "deploy", "acl", name))
		must(t, err)
		both = append(both, content...)
	}
	file = filepath.Join(t.TempDir(), "both.acl")
	must(t, os.WriteFile(file, both, 0o600))
	return file
}

// userURL returns a URL without credentials with those of a user.
func userURL(plain, user, password string) string {
	scheme, rest, _ := strings.Cut(plain, "://")
	return scheme + "://" + url.UserPassword(user, password).String() + "@" + rest
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pages collects all pages of a list.
func pages[T any](t testing.TB, limit int, page func(inspect.Page) (inspect.List[T], error)) (all []T) {
	t.Helper()
	p := inspect.Page{Limit: limit}
	for {
		list, err := page(p)
		must(t, err)
		all = append(all, list.Items...)
		if list.Next == "" {
			return all
		}
		if p.Cursor = list.Next; len(all) > 100_000 {
			t.Fatal("the list does not end")
		}
	}
}

type order struct {
	N int `json:"n"`
}

var orders = events.NewTopic[order]("order.paid")

func newBus(t testing.TB, client *redstart.Client, name string) *events.Durable {
	t.Helper()
	bus, err := events.NewDurable(client, name, events.DurableOptions{Partitions: 4})
	must(t, err)
	return bus
}

// runGroup runs a group until stop is called or the test ends.
func runGroup(t testing.TB, bus *events.Durable, group string, o events.SubscriberOptions,
	handle func(context.Context, events.Event[order]) error) (stop func()) {
	t.Helper()
	sub, err := bus.Subscriber(group, o)
	must(t, err)
	must(t, orders.Handle(sub, "*", handle))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	select {
	case <-sub.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the subscriber is not ready within 20 s")
	}
	return stop
}

// kill publishes n events to the channels order:0, order:1, … whose handlers give up.
func kill(t testing.TB, bus *events.Durable, group string, n int) {
	t.Helper()
	stop := runGroup(t, bus, group, events.SubscriberOptions{}, func(context.Context, events.Event[order]) error {
		return events.Discard(errors.New("no address: the order has no customer"))
	})
	defer stop()
	for i := range n {
		must(t, orders.Publish(t.Context(), bus, fmt.Sprintf("order:%d", i), order{N: i}))
	}
	rig.Eventually(t, 30*time.Second, "all events are dead letters", func() bool {
		got, err := bus.DeadLetters(group).Count(t.Context())
		must(t, err)
		return got == n
	})
}
