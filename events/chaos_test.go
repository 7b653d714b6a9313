package events_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

const (
	chaosPartitions = 8
	chaosChannels   = 24
	chaosAttempts   = 3  // of an event that always fails
	chaosMost       = 10 // of any event: faults must not make a dead letter of a good one
	chaosBackoff    = 50 * time.Millisecond
	chaosLease      = 2 * time.Second
	chaosStep       = 250 * time.Millisecond // between faults; each other stall of a kind exceeds the lease
	chaosPoison     = "c0"                   // every 40th of its events always fails
	chaosSlow       = "c1"                   // its handlers take chaosSlowness
	chaosSlowness   = 20 * time.Millisecond
	chaosHistory    = "history"
)

var chaosOptions = events.DurableOptions{Partitions: chaosPartitions, Lease: chaosLease, MaxBytes: 2 << 20}

func poisoned(channel string, n int) bool { return channel == chaosPoison && n%40 == 20 }

// chaosConsumer handles events and writes the history to a second server, which no fault reaches: S
// at the start of a handler, then E after success, F after a failure, or L if its context ended
// first.
func chaosConsumer() {
	fail := func(what string, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, what, err)
			os.Exit(3)
		}
	}
	history := openWhenUp(os.Getenv("TEST_HISTORY"))
	client := openWhenUp(os.Getenv("TEST_URL"))
	bus, err := events.NewDurable(client, "bus", chaosOptions)
	fail("bus:", err)
	bus.CheckStates(func(format string, args ...any) { fail("states:", fmt.Errorf(format, args...)) })
	sub, err := bus.Subscriber("g", events.SubscriberOptions{MaxAttempts: chaosMost,
		Backoff: func(int) time.Duration { return chaosBackoff }, Start: events.FromBeginning()})
	fail("subscriber:", err)
	r, err := history.Redis(context.Background())
	fail("redis:", err)
	write := func(kind string, e events.Event[note]) error {
		line := fmt.Sprintf("%s %s %d %d %d %d", kind, e.Channel, e.Data.N, e.Fence, e.Attempt, time.Now().UnixMicro())
		return r.Do(context.Background(), r.B().Rpush().Key(chaosHistory).Element(line).Build()).Error()
	}
	fail("handle:", notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fail("history:", write("S", e))
		if e.Channel == chaosSlow {
			select {
			case <-time.After(chaosSlowness):
			case <-ctx.Done():
			}
		}
		switch {
		case ctx.Err() != nil:
			fail("history:", write("L", e))
			return ctx.Err()
		case poisoned(e.Channel, e.Data.N):
			fail("history:", write("F", e))
			if e.Attempt >= chaosAttempts {
				return events.Discard(errors.New("poison"))
			}
			return errors.New("poison")
		}
		fail("history:", write("E", e))
		return nil
	}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan() && in.Text() == "dump"; {
			fmt.Fprintln(os.Stderr, bus.DumpConsumers())
			fmt.Println("dumped")
		}
	}()
	fail("run:", sub.Run(ctx))
	fail("close:", errors.Join(client.Close(), history.Close()))
}

// Four consumers handle events of 10 bytes to 1 MiB, each over a connection that is stalled, cut
// and reset. The consumers are killed and replaced. No event is lost and none is handled before
// earlier ones of its channel. No two handlers of a channel overlap, and no retry comes before its
// backoff. One channel has events that always fail, another one is slow. There are 12 faults, two
// of each kind, or 280 with REDSTART_SOAK=1.
func TestE4_HistoryUnderFaults(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	faults := rig.Soak(12, 280)
	server, kept := rig.Standalone(t), rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), chaosOptions)
	var proxies []*rig.Proxy
	var procs []*rig.Proc
	spawn := func(i int) *rig.Proc {
		return rig.Spawn(t, "chaos", map[string]string{"TEST_URL": proxies[i].URL(), "TEST_HISTORY": kept.URL()})
	}
	for i := range 4 {
		proxies = append(proxies, rig.NewProxy(t, server.Addr()))
		procs = append(procs, spawn(i))
	}
	published, stop := chaosPublish(t, bus)
	done := map[string]int{}
	step := time.NewTicker(chaosStep)
	defer step.Stop()
	h := newHistory(published)
	began := time.Now()
	for n := range faults {
		<-step.C
		h.read(t, kept)
		aliveAll(t, procs)
		i := rand.IntN(4)
		kind := []string{"kill", "stall", "requests", "replies", "cut", "reset"}[n%6]
		done[kind]++
		switch kind {
		case "kill":
			procs[i].Kill()
			procs[i] = spawn(i)
		case "stall", "requests", "replies":
			map[string]func(){"stall": proxies[i].Stall, "requests": proxies[i].StallRequests, "replies": proxies[i].StallReplies}[kind]()
			steps := 1 + rand.IntN(3)
			if n%12 < 6 {
				steps = int(chaosLease/chaosStep) + 2
			}
			for range steps {
				<-step.C
			}
			proxies[i].Resume()
		case "cut":
			proxies[i].Cut()
		case "reset":
			proxies[i].Reset()
		}
	}
	stop()
	elapsed := time.Since(began).Round(time.Second)
	defer func() {
		if t.Failed() {
			t.Logf("faults in the history: %s", strings.Join(h.faults, "\n"))
			dead, err := bus.DeadLetters("g").Count(context.Background())
			t.Logf("%d dead letters of %d, %v; not handled: %s", dead, h.given(), err, h.unhandled())
			for channel, n := range h.behind() {
				t.Log(bus.Dump(context.Background(), "g", channel, fmt.Sprint(channel, "-", n)))
			}
			for _, p := range procs {
				p.Send("dump") // its stderr is logged
				select {
				case <-p.Lines(): // "dumped", or the process has ended
				case <-time.After(5 * time.Second):
				}
			}
		}
	}()
	// The slow channel is behind when the faults end. The wait has no limit while events are
	// handled.
	for read, since := h.at, time.Now(); ; <-step.C {
		h.read(t, kept)
		aliveAll(t, procs)
		dead, err := bus.DeadLetters("g").Count(t.Context())
		if err == nil && h.missing() == 0 && dead >= h.given() {
			break
		}
		if h.at > read {
			read, since = h.at, time.Now()
		}
		if time.Since(since) > 30*time.Second {
			t.Fatalf("no event was handled for 30 s; %d are missing", h.missing())
		}
	}
	for _, p := range procs {
		p.Send("stop")
	}
	for _, p := range procs {
		if code := p.Wait(20 * time.Second); code != 0 {
			t.Errorf("a consumer exited with %d: %s", code, p.Stderr())
		}
	}
	h.read(t, kept)
	h.check(t, bus)
	t.Logf("%d events in %v, %d attempts, faults %v: %d lost, %d early, %d overlaps, %d retries before the backoff, %d handled again",
		h.total(), elapsed, h.starts, done, h.missing(), h.early, h.overlaps, h.hasty, h.again)
}

// aliveAll ends the test when a consumer has ended without being killed.
func aliveAll(t *testing.T, procs []*rig.Proc) {
	t.Helper()
	for i, p := range procs {
		select {
		case line, ok := <-p.Lines():
			if !ok {
				t.Fatalf("consumer %d ended with code %d: %s", i, p.Wait(5*time.Second), p.Stderr())
			}
			t.Errorf("consumer %d printed %q", i, line)
		default:
		}
	}
}

// chaosPublish publishes until stop is called. It repeats an unconfirmed event with its ID.
func chaosPublish(t *testing.T, bus *events.Durable) (published map[string]*atomic.Int64, stop func()) {
	t.Helper()
	published = map[string]*atomic.Int64{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	filler := strings.Repeat("x", 1<<20)
	for c := range chaosChannels {
		channel, count := fmt.Sprint("c", c), new(atomic.Int64)
		published[channel] = count
		wg.Go(func() {
			each := 10 * time.Millisecond
			if channel == chaosSlow {
				each = chaosSlowness // it falls behind during faults only
			}
			pace := time.NewTicker(each)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				size := 10
				switch k := rand.IntN(1000); {
				case k < 2:
					size = 1 << 20
				case k < 30:
					size = 64 << 10
				case k < 300:
					size = 1 << 10
				}
				for {
					err := notes.Publish(context.Background(), bus, channel, note{N: n, Text: filler[:size]},
						events.ID(fmt.Sprint(channel, "-", n)))
					if err == nil {
						break
					}
					if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
						t.Error(err)
						return
					}
				}
				count.Add(1)
				<-pace.C
			}
		})
	}
	return published, func() { cancel(); wg.Wait() }
}
