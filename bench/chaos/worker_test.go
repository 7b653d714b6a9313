package chaos_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

const (
	channels  = 64 // of events, per worker
	lockNames = 8
	cacheKeys = 40
	rate      = 50 // permits per second, all workers together

	// Why a pause: the machine also runs the servers and the check.
	publishPause = 25 * time.Millisecond
	pause        = 5 * time.Millisecond
	okPause      = 20 * time.Millisecond // between two reports of an outcome of a pattern
)

type numbered struct{ N int }

var topic = events.NewTopic[numbered]("numbered")

// settings are what a worker gets from the test.
type settings struct {
	ID    string
	Main  string // URL of the servers with the faults
	Cache string // URL of the cache's server
	// Truth is the Unix socket of a server without faults. It has the source of the cache and its
	// versions, and the values that the locks protect. A cut of the network does not reach it.
	Truth string
	// Replicas is how many replicas confirm events, locks and revocations: all, because Sentinel
	// may promote one that lags behind.
	Replicas int
	Proxies  map[string]string // address of a server → address of its proxy for this worker
}

// work is what a worker needs.
type work struct {
	settings
	out   sync.Mutex           // one line at a time
	said  map[string]time.Time // the last report of each outcome of a pattern; guarded by out
	truth rueidis.Client
	fence *lock.Locker // of the truth
	read  atomic.Int64 // reads of the cache
	calls atomic.Int64 // ids of the calls of the fence
}

// worker works until its input ends. It prints one line per fact, at once, so that a kill loses no
// fact that happened:
//
//	p CHANNEL N                          the event was confirmed
//	h CHANNEL N TIME                     a handler of the event begins
//	l NAME TOKEN REQUESTED GRANTED ENDED a lock was held (times in µs)
//	fence CALL NAME TOKEN VALUE CALLED   a fenced write begins; the token is 0: a read
//	fenced CALL OK VALUE RETURNED        it has ended: OK is false if it was refused
//	session ID KIND CALLED RETURNED FOUND a session was created, loaded or revoked; revoking: a revocation begins
//	a TIME                               the limit admitted a call
//	stale KEY GOT WANT                   a cached value was older than an invalidation before the read
//	lost TOKEN                           a live session was not found
//	n WHAT COUNT                         work that was done since the last such line
//	ok PATTERN BEGAN                     a call succeeded; not every success has a line
//	error PATTERN TEXT                   a call failed; not every failure has a line
func worker() {
	w := &work{said: map[string]time.Time{}}
	must(json.Unmarshal([]byte(os.Getenv("CHAOS_SETTINGS")), &w.settings))
	truth, err := redstart.Open(context.Background(), redstart.Config{URL: "redis://truth:6379", Namespace: "chaos",
		CommandTimeout: time.Minute, // a frozen process continues its calls
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.Truth)
		}})
	must(err)
	w.truth, err = truth.Redis(context.Background())
	must(err)
	w.fence, err = lock.New(truth, lock.Options{})
	must(err)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, cmp.Or(w.Proxies[addr], addr))
	}
	client, cacheClient := open(w.Main, dial), open(w.Cache, dial)

	ctx, cancel := context.WithCancel(context.Background())
	publishing, stopPublishing := context.WithCancel(ctx)
	var wg sync.WaitGroup
	bus, err := events.NewDurable(client, "bus", events.DurableOptions{Partitions: 16, Lease: 2 * time.Second})
	must(err)
	for i := range channels {
		wg.Go(func() { w.publish(publishing, bus, fmt.Sprint(w.ID, "-", i)) })
	}
	consumed := make(chan error, 1)
	go func() { consumed <- w.consume(ctx, bus) }()
	locker, err := lock.New(client, lock.Options{TTL: 2 * time.Second, Wait: 2 * time.Second, MinReplicas: w.Replicas})
	must(err)
	for range 2 {
		wg.Go(func() { w.hold(publishing, locker) })
	}
	sessions, err := session.New[numbered](client, "sessions", session.Options{MinReplicas: w.Replicas, ReplicaWait: time.Second})
	must(err)
	recent := &recentSessions{}
	wg.Go(func() { w.sessions(publishing, sessions, recent) })
	wg.Go(func() { w.loadSessions(publishing, sessions, recent) })
	limiter, err := ratelimit.New(client, "api",
		ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(rate)}, Outage: ratelimit.FailClosed})
	must(err)
	wg.Go(func() { w.limit(publishing, limiter) })
	values, err := cache.New[int64](cacheClient, "values", cache.Options{TTL: time.Minute, LoadTimeout: 2 * time.Second})
	must(err)
	wg.Go(func() { w.change(publishing, values) })
	for range 2 {
		wg.Go(func() { w.readCache(publishing, values) })
	}
	wg.Go(func() { w.count(publishing) })

	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "quiet" { // publish no more
			stopPublishing()
			wg.Wait()
			w.say("quiet")
		}
	}
	stopPublishing()
	wg.Wait()
	cancel()
	must(<-consumed)
}

// open connects, and tries again while the servers fail.
func open(url string, dial func(context.Context, string, string) (net.Conn, error)) *redstart.Client {
	client, err := redstart.Open(context.Background(), redstart.Config{URL: url, Dialer: dial, Lazy: true, Namespace: "chaos"})
	must(err)
	return client
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(3)
	}
}

func now() int64 { return time.Now().UnixMicro() }

func (w *work) say(format string, args ...any) {
	w.out.Lock()
	defer w.out.Unlock()
	fmt.Fprintf(os.Stdout, format+"\n", args...)
}

// ok reports a successful call that began at the given time.
func (w *work) ok(pattern string, began int64) { w.outcome("ok", pattern, began) }

// failed reports the error of a call.
func (w *work) failed(pattern string, err error) {
	w.outcome("error", pattern, strconv.Quote(err.Error()))
}

// outcome prints a line, unless the pattern has just reported an outcome of this kind.
func (w *work) outcome(kind, pattern string, what any) {
	w.out.Lock()
	defer w.out.Unlock()
	if key := kind + " " + pattern; time.Since(w.said[key]) >= okPause {
		w.said[key] = time.Now()
		fmt.Fprintln(os.Stdout, key, what)
	}
}

// sleep returns false at the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// publish publishes the numbers 1, 2, 3 … on a channel. It repeats an event with the same ID until
// a replica has it.
func (w *work) publish(ctx context.Context, bus *events.Durable, channel string) {
	for n := 1; sleep(ctx, publishPause); n++ {
		for {
			began := now()
			err := topic.Publish(context.WithoutCancel(ctx), bus, channel, numbered{n}, events.ID(fmt.Sprint(channel, "-", n)),
				events.Confirm(events.Confirmation{Replicas: w.Replicas}))
			if err == nil {
				w.say("p %s %d", channel, n)
				w.ok("publish", began)
				break
			}
			w.failed("publish", err)
			// After the last call an unconfirmed event stays open: it counts as not confirmed.
			if !sleep(ctx, 20*time.Millisecond) {
				return
			}
		}
	}
}

func (w *work) consume(ctx context.Context, bus *events.Durable) error {
	sub, err := bus.Subscriber("g", events.SubscriberOptions{Start: events.FromBeginning(), MaxAttempts: events.NoMaxAttempts,
		Backoff: func(int) time.Duration { return 50 * time.Millisecond }})
	if err != nil {
		return err
	}
	err = topic.Handle(sub, "*", func(ctx context.Context, e events.Event[numbered]) error {
		w.say("h %s %d %d", e.Channel, e.Data.N, now())
		w.ok("handle", now())
		return nil
	})
	if err != nil {
		return err
	}
	return sub.Run(ctx)
}
