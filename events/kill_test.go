package events_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
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
	killPartitions = 8
	killChannels   = 24
	killLease      = time.Second
)

// consumer is the process that is killed. It handles events by adding them to one list on the
// server, which gives them one order. It drains and exits on request.
func consumer() {
	client := openWhenUp(os.Getenv("TEST_URL"))
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: killPartitions, Lease: killLease})
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	sub, err := bus.Subscriber("g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts, Backoff: soon})
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	err = notes.Handle(sub, "*", func(ctx context.Context, e events.Event[note]) error {
		if rand.IntN(100) == 0 {
			return errors.New("by chance")
		}
		r, err := client.Redis(ctx)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		line := e.Channel + " " + strconv.Itoa(e.Data.N) + " " + strconv.FormatInt(e.Fence, 10)
		return r.Do(ctx, r.B().Rpush().Key("app:handled").Element(line).Build()).Error()
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		in := bufio.NewScanner(os.Stdin)
		in.Scan()
		cancel()
	}()
	go func() {
		<-sub.Ready()
		fmt.Println("ready")
	}()
	if err := sub.Run(ctx); err != nil {
		fmt.Println("run:", err)
		os.Exit(3)
	}
	if err := client.Close(); err != nil {
		fmt.Println("close:", err)
		os.Exit(3)
	}
}

// openWhenUp opens a client like a process under a supervisor, which starts it again: the server
// may be down.
func openWhenUp(url string) *redstart.Client {
	for retry := time.NewTicker(50 * time.Millisecond); ; <-retry.C {
		client, err := redstart.Open(context.Background(), redstart.Config{URL: url, Namespace: "app", CommandTimeout: 2 * time.Second})
		if err == nil {
			return client
		}
		if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
			fmt.Println("open:", err)
			os.Exit(3)
		}
	}
}

func soak() bool { return os.Getenv("REDSTART_SOAK") == "1" }

// Under load, consumers are killed with SIGKILL, and the server is killed and restarted. No
// confirmed event is lost, and every channel keeps its order.
func TestE1_NothingIsLostWhenProcessesDie(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	consumerKills, serverKills, pause := 10, 2, 700*time.Millisecond
	if soak() {
		consumerKills, serverKills, pause = 60, 6, 1200*time.Millisecond
	}
	server := rig.Standalone(t, "--appendonly", "yes", "--appendfsync", "always")
	client := open(t, server.URL(), "app")
	bus := durable(t, client, events.DurableOptions{Partitions: killPartitions, Lease: killLease})

	spawn := func() *rig.Proc {
		return rig.Spawn(t, "consumer", map[string]string{"TEST_URL": server.URL()})
	}
	procs := []*rig.Proc{spawn(), spawn(), spawn()}
	for _, p := range procs {
		if line := p.Line(20 * time.Second); line != "ready" {
			t.Fatalf("a consumer said %q", line)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var published [killChannels]atomic.Int64
	var wg sync.WaitGroup
	for c := range killChannels {
		wg.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond) // half of the consumers can handle this rate
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				for { // the same ID until the publication is confirmed
					err := notes.Publish(context.Background(), bus, fmt.Sprintf("c%d", c), note{N: n},
						events.ID(fmt.Sprintf("%d-%d", c, n)))
					if err == nil {
						break
					}
					if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
						t.Error(err)
						return
					}
					<-pace.C
				}
				published[c].Add(1)
				<-pace.C
			}
		})
	}
	step := time.NewTicker(pause)
	defer step.Stop()
	for i := range consumerKills {
		<-step.C
		victim := i % len(procs)
		procs[victim].Kill()
		down := (i+1)%(consumerKills/serverKills) == 0
		if down {
			server.Kill()
		}
		procs[victim] = spawn() // also while the server is down
		if down {
			<-step.C
			server.Restart()
		}
	}
	stop()
	wg.Wait()
	total := int64(0)
	for c := range published {
		total += published[c].Load()
	}
	log := func() []string {
		return strings.Fields(strings.ReplaceAll(server.CLI("LRANGE", "app:handled", "0", "-1"), "\n", " "))
	}
	rig.Eventually(t, 60*time.Second, "as many handled as published", func() bool {
		n, err := strconv.ParseInt(strings.TrimSpace(server.CLI("LLEN", "app:handled")), 10, 64)
		return err == nil && n >= total && distinct(log()) >= total
	})
	for _, p := range procs {
		p.Send("stop")
	}
	for _, p := range procs {
		if code := p.Wait(20 * time.Second); code != 0 {
			t.Errorf("a consumer exited with %d", code)
		}
	}
	next := map[string]int{}
	fences := map[string]int64{}
	duplicates := 0
	all := log()
	for i := 0; i+2 < len(all); i += 3 {
		channel := all[i]
		n, _ := strconv.Atoi(all[i+1])
		fence, _ := strconv.ParseInt(all[i+2], 10, 64)
		switch {
		case n == next[channel]:
			next[channel]++
		case n < next[channel]:
			duplicates++
		default:
			t.Errorf("%s: event %d was handled before %d", channel, n, next[channel])
			next[channel] = n + 1
		}
		if fence < fences[channel] {
			t.Errorf("%s: event %d was handled with the fence of an owner before", channel, n)
		}
		fences[channel] = fence
	}
	for c := range published {
		if channel := fmt.Sprintf("c%d", c); int64(next[channel]) < published[c].Load() {
			t.Errorf("%s: %d of %d events were handled", channel, next[channel], published[c].Load())
		}
	}
	kills := consumerKills + serverKills
	if bound := kills * 3 * 16 * 32; duplicates > bound {
		t.Errorf("%d duplicates, more than %d", duplicates, bound)
	}
	t.Logf("%d events, %d kills of consumers, %d of the server: 0 lost, %d duplicates", total, consumerKills, serverKills, duplicates)
}

func distinct(log []string) int64 {
	seen := make(map[string]bool, len(log)/3)
	for i := 0; i+2 < len(log); i += 3 {
		seen[log[i]+" "+log[i+1]] = true
	}
	return int64(len(seen))
}
