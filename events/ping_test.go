package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// pings measures the latency of PING on servers until stop is called.
func pings(t *testing.T, servers ...*rig.Server) (stop func() [][]time.Duration) {
	t.Helper()
	conns := make([]*rig.Conn, len(servers))
	for i, s := range servers {
		conns[i] = s.Conn(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	took := make([][]time.Duration, len(servers))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				began := time.Now()
				c.CLI("PING")
				took[i] = append(took[i], time.Since(began))
				<-pace.C
			}
		})
	}
	return func() [][]time.Duration {
		cancel()
		wg.Wait()
		for _, all := range took {
			slices.Sort(all)
		}
		return took
	}
}

// pinged are the latencies of PING during some work, and on an idle server at the same time.
type pinged struct {
	what       string
	next, idle []time.Duration
}

func (p pinged) log(t *testing.T) {
	t.Helper()
	t.Logf("%s: %d PINGs, p50 %v, p99 %v, longest %v; on an idle server p50 %v, p99 %v, longest %v", p.what, len(p.next),
		quantile(p.next, 0.5), quantile(p.next, 0.99), p.next[len(p.next)-1], quantile(p.idle, 0.5),
		quantile(p.idle, 0.99), p.idle[len(p.idle)-1])
}

// The server answers other clients while events of 1 MiB flow, and while all of them fail and are
// parked. The p99 of a PING, less the p99 on an idle server, is shorter than a script that reads 64
// of the events. The log also has the latencies during a plain consumer, which reads, acknowledges
// and deletes the events one at a time. There are 300 events, or 10,000 with REDSTART_SOAK=1, and
// at most 200 of them on the server.
//
// Other processes on the machine cause long PINGs too, so the test makes up to three rounds. A
// script that blocks the server causes them in each round.
func TestE4_LargeEventsLeavePingAlone(t *testing.T) {
	rig.Need(t, rig.TierAll)
	t.Parallel()
	total := rig.Soak(300, 10_000)
	const rounds = 3
	for round := range rounds {
		plain, control := plainEventsNextToPing(t, 100)
		plain.log(t)
		slow := time.Duration(0)
		for _, phase := range largeEventsNextToPing(t, total) {
			slow = max(slow, quantile(phase.next, 0.99)-quantile(phase.idle, 0.99))
		}
		if slow <= control {
			return
		}
		if round == rounds-1 {
			t.Errorf("the p99 of a PING is %v longer next to events of 1 MiB; reading 64 of them takes %v", slow, control)
		}
	}
}

func largeEventsNextToPing(t *testing.T, total int) (phases []pinged) {
	t.Helper()
	const room, channels, size = 200, 8, 1 << 20
	server, control := rig.Standalone(t, "--slowlog-log-slower-than", "1000", "--slowlog-max-len", "1000"), rig.Standalone(t)
	client := open(t, server.URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 2, MaxBytes: 2 << 20})
	var handled, failed atomic.Int64
	var down atomic.Bool
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts,
		Backoff: func(int) time.Duration { return 100 * time.Millisecond }})
	next := make([]atomic.Int64, channels)
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if down.Load() || e.Attempt == 1 && e.Data.N%10 == 3 {
			failed.Add(1)
			return errors.New("downstream is failing")
		}
		var c int
		if _, err := fmt.Sscanf(e.Channel, "c%d", &c); err != nil {
			return err
		}
		if !next[c].CompareAndSwap(int64(e.Data.N), int64(e.Data.N)+1) {
			t.Errorf("%s: event %d instead of %d", e.Channel, e.Data.N, next[c].Load())
		}
		handled.Add(1)
		return nil
	}))
	defer run(t, sub)()

	filler, began, most := strings.Repeat("x", size), time.Now(), int64(0)
	publish := func(from, to int) {
		for n := from; n < to; n++ {
			rig.Eventually(t, time.Minute, "room for an event", func() bool { return int64(n)-handled.Load() < room })
			must(t, notes.Publish(t.Context(), bus, fmt.Sprint("c", n%channels), note{N: n / channels, Text: filler}))
			most = max(most, int64(n+1)-handled.Load())
		}
	}
	third, more := total/3, min(room/2, total/3)
	for _, phase := range []struct {
		what string
		work func()
	}{
		{"flowing, every tenth fails once", func() { publish(0, third) }},
		{"all fail", func() {
			down.Store(true)
			publish(third, third+more)
			before := failed.Load()
			rig.Eventually(t, time.Minute, "retries of all channels", func() bool { return failed.Load() >= before+5*channels })
		}},
		{"flowing again", func() {
			down.Store(false)
			publish(third+more, total)
			rig.Eventually(t, time.Minute, "all events", func() bool { return handled.Load() == int64(total) })
		}},
	} {
		stop, start := pings(t, server, control), time.Now()
		phase.work()
		took := stop()
		done := pinged{what: fmt.Sprintf("%s (%v)", phase.what, time.Since(start).Round(time.Millisecond)), next: took[0], idle: took[1]}
		done.log(t)
		phases = append(phases, done)
	}
	t.Logf("%d events of 1 MiB in %v, %d failed attempts, at most %d events on the server; "+
		"the longest script took %v", total, time.Since(began).Round(time.Millisecond),
		failed.Load(), most, time.Duration(slowest(t, server, "EVALSHA"))*time.Microsecond)
	return phases
}

// plainEventsNextToPing measures the least cost of events of 1 MiB: one XADD, XREADGROUP, XACK and
// XDEL for each. control is the run time of a script that reads 64 of the events: the median of
// five.
func plainEventsNextToPing(t *testing.T, total int) (plain pinged, control time.Duration) {
	t.Helper()
	const size, most = 1 << 20, 200
	server, other := rig.Standalone(t), rig.Standalone(t)
	producer, consumer := rigclient.Redis(t, open(t, server.URL(), "p")), rigclient.Redis(t, open(t, server.URL(), "c"))
	must(t, producer.Do(t.Context(), producer.B().XgroupCreate().Key("s").Group("g").Id("0").Mkstream().Build()).Error())
	stop := pings(t, server, other)
	filler, room := strings.Repeat("x", size), make(chan struct{}, most)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range total {
			room <- struct{}{}
			if err := producer.Do(t.Context(), producer.B().Xadd().Key("s").Id("*").FieldValue().FieldValue("c",
				"c").FieldValue("e1", filler).Build()).Error(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range total {
		reply, err := consumer.Do(t.Context(), consumer.B().Xreadgroup().Group("g",
			"c").Count(1).Block(5000).Streams().Key("s").Id(">").Build()).AsXRead()
		must(t, err)
		id := reply["s"][0].ID
		must(t, consumer.Do(t.Context(), consumer.B().Xack().Key("s").Group("g").Id(id).Build()).Error())
		must(t, consumer.Do(t.Context(), consumer.B().Xdel().Key("s").Id(id).Build()).Error())
		<-room
	}
	wg.Wait()
	took := stop()

	for range 64 {
		must(t, producer.Do(t.Context(), producer.B().Xadd().Key("s").Id("*").FieldValue().FieldValue("c",
			"c").FieldValue("e1", filler).Build()).Error())
	}
	var reads []time.Duration
	for range 5 {
		began := time.Now()
		server.CLI("EVAL", `local n = 0
			for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do n = n + #e[2][4] end
			return n`, "1", "s")
		reads = append(reads, time.Since(began))
	}
	slices.Sort(reads)
	return pinged{what: "plain consumer", next: took[0], idle: took[1]}, quantile(reads, 0.5)
}
