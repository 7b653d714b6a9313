package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/rig"
)

// listener records the notifications of a receiver.
type listener chan string

func (l listener) receiver() hub.Receiver {
	return hub.Receiver{
		Message:  func(p string) { l <- p },
		Lost:     func() { l <- "lost" },
		Restored: func() { l <- "restored" },
	}
}

func (l listener) next(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-l:
		if got != want {
			t.Fatalf("received %q, want %q", got, want)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("did not receive %q", want)
	}
}

func (l listener) silent(t *testing.T) {
	t.Helper()
	select {
	case got := <-l:
		t.Fatalf("received %q", got)
	default:
	}
}

func subscribe(t *testing.T, c *core.Core, channel string) (*hub.Subscription, listener) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l := make(listener, 64)
	s, err := c.Hub().Subscribe(ctx, channel, l.receiver())
	if err != nil {
		t.Fatalf("subscribe to %s: %v", channel, err)
	}
	return s, l
}

func TestHubSubscribesAgainToWhatWasJustDropped(t *testing.T) {
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(),
		"cluster": rig.SharedCluster(t).URL(), "embedded": rig.Embedded(t).URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, url)
			channel := space(t, c, "again").Key("a")
			s, l := subscribe(t, c, channel)
			for i := range 200 {
				s.Close()
				if i%3 == 0 { // sometimes give the server time to notice it
					if err := c.Publish(t.Context(), channel, "without a receiver"); err != nil {
						t.Fatal(err)
					}
				}
				s, l = subscribe(t, c, channel)
				if err := c.Publish(t.Context(), channel, fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
				for { // a message that was published just before may arrive too
					select {
					case got := <-l:
						if got == fmt.Sprint(i) {
							break
						} else if got == "without a receiver" {
							continue
						}
						t.Fatalf("received %q, want %d", got, i)
					case <-time.After(15 * time.Second):
						t.Fatalf("did not receive %d", i)
					}
					break
				}
			}
			s.Close()
			l.silent(t)
		})
	}
}

func TestHubManySubscribeAtOnce(t *testing.T) {
	rig.Need(t, rig.TierAll)
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, url, timeout(10*time.Second))
			sp := space(t, c, "crowd")
			var wg sync.WaitGroup
			for i := range 1500 {
				wg.Go(func() {
					channel := sp.Key(fmt.Sprint(i))
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					heard := make(chan string, 4)
					s, err := c.Hub().Subscribe(ctx, channel, hub.Receiver{Message: func(p string) { heard <- p }})
					if err != nil {
						t.Errorf("channel %d: %v", i, err)
						return
					}
					defer s.Close()
					if err := c.Publish(ctx, channel, fmt.Sprint(i)); err != nil {
						t.Errorf("channel %d: %v", i, err)
						return
					}
					select {
					case got := <-heard:
						if got != fmt.Sprint(i) {
							t.Errorf("channel %d received %q", i, got)
						}
					case <-ctx.Done():
						t.Errorf("channel %d received nothing", i)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestHubSubscribeOnAClosedClient(t *testing.T) {
	c := open(t, rig.Shared(t).URL())
	_, _ = subscribe(t, c, space(t, c, "x").Key("a"))
	pending := make(chan error, 1)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.Hub().Subscribe(context.Background(), space(t, c, "x").Key("b"), hub.Receiver{})
		pending <- err
	}()
	select {
	case err := <-pending:
		if !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Subscribe after Close: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Subscribe after Close waits for ever")
	}
}

func TestHubPendingSubscribeEndsWithItsContext(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	first, _ := subscribe(t, c, "app:a")
	defer first.Close()
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	l := make(listener, 8)
	if _, err := c.Hub().Subscribe(ctx, "app:b", l.receiver()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Subscribe on a stopped server: %v", err)
	}
	s.Continue()
	rig.Eventually(t, 10*time.Second, "no receiver is subscribed to b", func() bool {
		return s.CLI("PUBSUB", "SHARDNUMSUB", "app:b") == "app:b 0" ||
			strings.HasSuffix(strings.TrimSpace(s.CLI("PUBSUB", "SHARDNUMSUB", "app:b")), "0")
	})
	l.silent(t)
}

func TestHubRefusedChannelAffectsNoOther(t *testing.T) {
	s := rig.ACLServer(t, rig.ACLFile)
	c := open(t, s.URL(), func(o *core.Options) { o.Namespace = "app" })
	mine, l := subscribe(t, c, "app:mine")
	defer mine.Close()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := c.Hub().Subscribe(ctx, "foreign", hub.Receiver{}); !errors.Is(err, fault.ErrDenied) {
			t.Errorf("a foreign channel gave %v", err)
		}
		cancel()
	}
	if err := c.Publish(t.Context(), "app:mine", "hello"); err != nil {
		t.Fatal(err)
	}
	l.next(t, "hello")
	l.silent(t)
}

func TestHubSlotMoveDisturbsNoOtherChannel(t *testing.T) {
	cl := rig.NewCluster(t, rig.NoReplicas())
	c := open(t, cl.URL())
	from, to := cl.Primaries()[0], cl.Primaries()[1]
	moves := keyOn(cl, from)
	stays := moves
	for i := 0; keys.Slot(stays) == keys.Slot(moves) || cl.Primary(stays) != from; i++ {
		stays = fmt.Sprintf("stays:{%d}", i)
	}
	a, moving := subscribe(t, c, moves)
	defer a.Close()
	b, staying := subscribe(t, c, stays)
	defer b.Close()
	cl.MigrateSlot(int(keys.Slot(moves)), from, to).Finish()
	moving.next(t, "lost")
	moving.next(t, "restored")
	for channel, l := range map[string]listener{moves: moving, stays: staying} {
		if err := c.Publish(t.Context(), channel, "hello"); err != nil {
			t.Fatal(err)
		}
		l.next(t, "hello")
	}
}
