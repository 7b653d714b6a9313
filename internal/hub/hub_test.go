package hub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// source is the smallest call layer: one server, classic Pub/Sub.
type source struct {
	client    rueidis.Client
	dedicated atomic.Int64
	ctx       context.Context
	running   sync.WaitGroup
}

func newHub(t *testing.T, server *rig.Server) (*hub.Hub, *source) {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &source{client: client, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		s.running.Wait()
		client.Close()
	})
	return hub.New(s), s
}

func (s *source) Dedicate(context.Context, string) (rueidis.DedicatedClient, func(), error) {
	s.dedicated.Add(1)
	conn, back := s.client.Dedicate()
	return conn, func() { conn.Close(); back() }, nil
}
func (s *source) Route(string) (string, bool) { return "", true }
func (s *source) Sharded() bool               { return false }
func (s *source) OnRoute(func())              {}
func (s *source) Reroute()                    {}
func (s *source) Done() <-chan struct{}       { return s.ctx.Done() }
func (s *source) Go(_ string, fn func(context.Context)) bool {
	s.running.Go(func() { fn(s.ctx) })
	return true
}

func subscribers(server *rig.Server) (n int) {
	for _, line := range strings.Split(server.CLI("CLIENT", "LIST", "TYPE", "pubsub"), "\n") {
		if strings.HasPrefix(line, "id=") {
			n++
		}
	}
	return n
}

// Receivers subscribe and unsubscribe on a few channels from many goroutines. Each subscribed
// receiver gets what is published, and no function is called after Close. In the end the server has
// no subscription. All of them share one connection.
func TestManySubscriptionsAtOnce(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	h, s := newHub(t, server)
	publisher, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 40 {
				channel, me := fmt.Sprint("storm", (w+i)%5), fmt.Sprint(w, "/", i)
				heard := make(chan struct{})
				var once sync.Once
				var closed atomic.Bool
				sub, err := h.Subscribe(ctx, channel, hub.Receiver{Message: func(p string) {
					if closed.Load() {
						t.Errorf("%s received %s after Close", me, p)
					}
					if p == me {
						once.Do(func() { close(heard) })
					}
				}})
				if err != nil {
					t.Error(err)
					return
				}
				if err := publisher.Do(ctx, publisher.B().Publish().Channel(channel).Message(me).Build()).Error(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-heard:
				case <-ctx.Done():
					t.Errorf("%s did not receive its message on %s", me, channel)
					return
				}
				sub.Close()
				closed.Store(true)
			}
		})
	}
	wg.Wait()
	rig.Eventually(t, 10*time.Second, "no subscription is left",
		func() bool { return strings.TrimSpace(server.CLI("PUBSUB", "CHANNELS")) == "" })
	if n := s.dedicated.Load(); n != 1 {
		t.Errorf("%d connections were taken, want 1", n)
	}
}

// All channels share one connection, for any number of channels.
func TestOneConnectionForAllChannels(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	h, s := newHub(t, server)
	const channels = 3000
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	for i := range channels {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, err := h.Subscribe(t.Context(), fmt.Sprint("c", i), hub.Receiver{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := subscribers(server); n != 1 || s.dedicated.Load() != 1 {
		t.Errorf("%d connections have subscriptions and %d were taken for %d channels, want 1", n, s.dedicated.Load(), channels)
	}
	if got := len(strings.Fields(server.CLI("PUBSUB", "CHANNELS"))); got != channels {
		t.Errorf("the server has %d channels, want %d", got, channels)
	}
}

// Each loss of the connection calls Lost and then Restored on every receiver. A message that is
// published after Restored arrives after it.
func TestLostThenRestored(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	h, _ := newHub(t, server)
	const channels, kills = 20, 5
	var mu sync.Mutex
	heard := make([][]string, channels)
	note := func(i int, what string) {
		mu.Lock()
		defer mu.Unlock()
		heard[i] = append(heard[i], what)
	}
	all := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return !slices.ContainsFunc(heard, func(h []string) bool { return len(h) < n })
		}
	}
	for i := range channels {
		if _, err := h.Subscribe(t.Context(), fmt.Sprint("c", i), hub.Receiver{
			Message: func(p string) { note(i, p) }, Lost: func() { note(i, "lost") }, Restored: func() { note(i, "restored") },
		}); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for k := range kills {
		server.CLI("CLIENT", "KILL", "TYPE", "pubsub")
		rig.Eventually(t, 20*time.Second, "restored", all(3*k+2))
		for i := range channels {
			server.CLI("PUBLISH", fmt.Sprint("c", i), fmt.Sprint(k))
		}
		rig.Eventually(t, 20*time.Second, "messages", all(3*k+3))
		want = append(want, "lost", "restored", fmt.Sprint(k))
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range heard {
		if !slices.Equal(heard[i], want) {
			t.Errorf("the receiver of channel %d got %v", i, heard[i])
		}
	}
}

// tracker records its notifications.
type tracker struct {
	mu      sync.Mutex
	reports []string
}

func (k *tracker) Invalidate(key string) { k.add(key) }
func (k *tracker) Flush()                { k.add("flush") }
func (k *tracker) add(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reports = append(k.reports, what)
}

func (k *tracker) has(want ...string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Equal(k.reports, want)
}

// A changed key is reported to its own space. A flush and a lost connection are reported to all
// spaces. A stopped tracker gets no report.
func TestInvalidationsAndFlushes(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	h, _ := newHub(t, server)
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Addr()}, ClientTrackingOptions: []string{"OPTOUT"},
		PipelineMultiplex: -1, OnInvalidations: func(keys []rueidis.RedisMessage) {
			if keys == nil {
				h.Flush()
			}
			for _, key := range keys {
				name, _ := key.ToString()
				h.Invalidate(name)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	one, two, gone := &tracker{}, &tracker{}, &tracker{}
	h.Track("app:one:", one)
	h.Track("app:two:", two)
	stop := h.Track("app:one:", gone)
	stop()
	stop() // a second call does nothing
	read := func(key string) {
		t.Helper()
		if err := client.Do(t.Context(), client.B().Get().Key(key).Build()).Error(); err != nil && !rueidis.IsRedisNil(err) {
			t.Fatal(err)
		}
	}
	read("app:one:{a}")
	read("app:two:{b}")
	server.CLI("SET", "app:one:{a}", "1")
	rig.Eventually(t, 10*time.Second, "one key", func() bool { return one.has("app:one:{a}") })
	server.CLI("SET", "app:two:{b}", "1")
	rig.Eventually(t, 10*time.Second, "the other key", func() bool { return two.has("app:two:{b}") })
	if !one.has("app:one:{a}") {
		t.Errorf("the tracker got %v", one.reports)
	}
	before := h.Flushes()
	server.CLI("FLUSHALL")
	rig.Eventually(t, 10*time.Second, "a flush", func() bool {
		return one.has("app:one:{a}", "flush") &&
			two.has("app:two:{b}", "flush")
	})
	server.CLI("CLIENT", "KILL", "TYPE", "normal")
	rig.Eventually(t, 10*time.Second, "a flush for the lost connection", func() bool {
		return one.has("app:one:{a}", "flush", "flush") && two.has("app:two:{b}", "flush", "flush")
	})
	if n := h.Flushes() - before; n != 2 {
		t.Errorf("%d flushes are counted, want 2", n)
	}
	h.Announce("app:one:{c}", two) // from a tracker of another space
	h.Announce("app:one:{d}", one)
	if !one.has("app:one:{a}", "flush", "flush", "app:one:{c}") || !gone.has() {
		t.Errorf("the tracker got %v, the stopped tracker %v", one.reports, gone.reports)
	}
}
