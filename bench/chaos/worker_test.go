package chaos_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
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
	channels  = 36 // of events, per worker
	lockNames = 8
	cacheKeys = 40
	rate      = 50 // permits per second, all workers together

	// Why a pause: the machine also runs the servers and the check.
	publishPause = 50 * time.Millisecond
	pause        = 5 * time.Millisecond
)

type numbered struct{ N int }

var topic = events.NewTopic[numbered]("numbered")

// settings are what a worker gets from the test.
type settings struct {
	ID    string
	Main  string // URL of the servers with the faults
	Cache string // URL of the cache's server
	Truth string // URL of a server without faults: the source of the cache, and its versions
	// Replicas is how many replicas confirm events, locks and revocations: all, because Sentinel
	// may promote one that lags behind.
	Replicas int
	Proxies  map[string]string // address of a server → address of its proxy for this worker
}

// work is what a worker needs.
type work struct {
	settings
	out   sync.Mutex // one line at a time
	truth rueidis.Client
	read  atomic.Int64 // reads of the cache
	load  atomic.Int64 // sessions that were checked
}

// worker works until its input ends. It prints one line per fact, at once, so that a kill loses no
// fact that happened:
//
//	p CHANNEL N                          the event was confirmed
//	h CHANNEL N TIME                     a handler of the event begins
//	l NAME TOKEN REQUESTED GRANTED ENDED a lock was held (times in µs)
//	a TIME                               the limit admitted a call
//	stale KEY GOT WANT                   a cached value was older than an invalidation before the read
//	undead TOKEN / lost TOKEN            a revoked session was found / a live session was not found
//	n WHAT COUNT                         work that was done since the last such line
//	ok PATTERN BEGAN                     a call succeeded
func worker() {
	w := &work{}
	must(json.Unmarshal([]byte(os.Getenv("CHAOS_SETTINGS")), &w.settings))
	truth, err := open(w.Truth, nil).Redis(context.Background())
	must(err)
	w.truth = truth
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
	wg.Go(func() { w.sessions(publishing, sessions) })
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
				w.say("ok publish %d", began)
				break
			}
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
		w.say("ok handle %d", now())
		return nil
	})
	if err != nil {
		return err
	}
	return sub.Run(ctx)
}

// hold holds a lock for a while, and reports until when it counted as held.
func (w *work) hold(ctx context.Context, locker *lock.Locker) {
	for sleep(ctx, pause) {
		name := "lock-" + strconv.Itoa(rand.IntN(lockNames))
		requested := now()
		h, err := locker.Acquire(ctx, name)
		if err != nil {
			continue
		}
		granted := now()
		timer := time.NewTimer(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		select {
		case <-timer.C:
		case <-h.Context().Done():
		}
		timer.Stop()
		ended := now()
		err = h.Release(context.WithoutCancel(ctx))
		w.say("l %s %d %d %d %d", name, h.Token(), requested, granted, ended)
		if err == nil {
			w.say("ok lock %d", requested)
		}
	}
}

// sessions creates, reads and revokes sessions, and looks for revoked ones.
func (w *work) sessions(ctx context.Context, manager *session.Manager[numbered]) {
	var revoked []string
	for n := 0; sleep(ctx, pause); n++ {
		began := now()
		user := w.ID + "-" + strconv.Itoa(n%10)
		s, err := manager.Create(ctx, user, numbered{n})
		if err != nil {
			continue
		}
		if _, err := manager.Load(ctx, s.Token()); errors.Is(err, session.ErrNotFound) {
			w.say("lost %s", s.ID())
		}
		if manager.Revoke(ctx, user, s.ID()) == nil {
			w.say("ok session %d", began)
			revoked = append(revoked, s.Token())
		}
		if len(revoked) > 200 {
			revoked = revoked[1:]
		}
		for range min(2, len(revoked)) {
			if _, err := manager.Load(ctx, revoked[rand.IntN(len(revoked))]); err == nil {
				w.say("undead %s", s.ID())
			}
			w.load.Add(1)
		}
	}
}

func (w *work) limit(ctx context.Context, limiter *ratelimit.Limiter) {
	for sleep(ctx, pause) {
		began := now()
		res, err := limiter.Allow(ctx, "k")
		if err != nil || res.Degraded {
			continue
		}
		w.say("ok limit %d", began)
		if res.Allowed {
			w.say("a %d", now())
		}
	}
}

// change changes the source and then deletes the cached value. Only after the Delete has returned
// without an error does the truth say that older values are wrong.
func (w *work) change(ctx context.Context, values *cache.Cache[int64]) {
	raise := rueidis.NewLuaScript(`local old = tonumber(redis.call('GET', KEYS[1]) or '0')
		if tonumber(ARGV[1]) > old then redis.call('SET', KEYS[1], ARGV[1]) end`)
	for sleep(ctx, 4*pause) {
		key := strconv.Itoa(rand.IntN(cacheKeys))
		truth := context.WithoutCancel(ctx)
		version, err := w.truth.Do(truth, w.truth.B().Incr().Key("source:"+key).Build()).AsInt64()
		must(err)
		began := now()
		if values.Delete(ctx, key) != nil {
			continue // the client repeats it; until then, older values are no violation
		}
		w.say("ok delete %d", began)
		err = raise.Exec(truth, w.truth, []string{"floor:" + key}, []string{strconv.FormatInt(version, 10)}).Error()
		if !rueidis.IsRedisNil(err) {
			must(err)
		}
	}
}

func (w *work) readCache(ctx context.Context, values *cache.Cache[int64]) {
	load := func(ctx context.Context, key string) (int64, error) { return w.version(ctx, "source:"+key) }
	for sleep(ctx, pause) {
		key := strconv.Itoa(rand.IntN(cacheKeys))
		floor, err := w.version(context.WithoutCancel(ctx), "floor:"+key)
		must(err)
		began := now()
		got, err := values.GetOrLoad(ctx, key, load)
		if err != nil {
			continue
		}
		w.say("ok cache %d", began)
		w.read.Add(1)
		if got < floor {
			w.say("stale %s %d %d", key, got, floor)
		}
	}
}

// version reads a number of the truth; a missing one is 0.
func (w *work) version(ctx context.Context, key string) (int64, error) {
	n, err := w.truth.Do(ctx, w.truth.B().Get().Key(key).Build()).AsInt64()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	return n, err
}

// count prints how much was checked, each 100 ms.
func (w *work) count(ctx context.Context) {
	for more := true; more; {
		more = sleep(ctx, 100*time.Millisecond)
		w.say("n reads %d", w.read.Swap(0))
		w.say("n sessions %d", w.load.Swap(0))
	}
}
