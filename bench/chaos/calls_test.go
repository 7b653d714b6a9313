package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// hold holds a lock for a while, and reports until when it counted as held. It writes to the value
// that the lock protects at the begin and at the end, also if the lock was lost.
func (w *work) hold(ctx context.Context, locker *lock.Locker) {
	for n := 0; sleep(ctx, pause); n++ {
		// A name is used for a minute, so that the history of a name stays short.
		name := fmt.Sprintf("%d-%d", time.Now().Unix()/60, rand.IntN(lockNames))
		requested := now()
		h, err := locker.Acquire(ctx, name)
		if err != nil {
			w.failed("lock", err)
			continue
		}
		granted := now()
		w.write(h, name, fmt.Sprintf("%s-%d-first", w.ID, n))
		timer := time.NewTimer(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		select {
		case <-timer.C:
		case <-h.Context().Done():
		}
		timer.Stop()
		ended := now()
		w.write(h, name, fmt.Sprintf("%s-%d-last", w.ID, n))
		w.look(name)
		err = h.Release(context.WithoutCancel(ctx))
		w.say("l %s %d %d %d %d", name, h.Token(), requested, granted, ended)
		if err != nil {
			w.failed("lock", err)
			continue
		}
		w.ok("lock", requested)
	}
}

// write writes a value with the token of a lock. A call without an answer has a line before it and
// none after it: it has happened or not.
func (w *work) write(h *lock.Lock, name, value string) {
	call := fmt.Sprintf("%s-%d", w.ID, w.calls.Add(1))
	w.say("fence %s %s %d %s %d", call, name, h.Token(), value, now())
	err := w.fence.FencedSet(context.Background(), h, name, []byte(value), time.Hour)
	if err == nil || errors.Is(err, lock.ErrLost) {
		w.say("fenced %s %t - %d", call, err == nil, now())
	}
}

// look reads the value that a lock protects.
func (w *work) look(name string) {
	call := fmt.Sprintf("%s-%d", w.ID, w.calls.Add(1))
	w.say("fence %s %s 0 - %d", call, name, now())
	if value, _, err := w.fence.FencedGet(context.Background(), name); err == nil {
		w.say("fenced %s true %s %d", call, cmp.Or(string(value), "-"), now())
	}
}

// recentSessions are the sessions that a worker loads.
type recentSessions struct {
	mu  sync.Mutex
	all []*session.Session[numbered]
}

func (r *recentSessions) add(s *session.Session[numbered]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
	if len(r.all) > 200 {
		r.all = r.all[1:]
	}
}

// some returns the newest session or another one, nil if there is none.
func (r *recentSessions) some() *session.Session[numbered] {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.all)
	if n == 0 {
		return nil
	}
	if rand.IntN(2) == 0 {
		return r.all[n-1]
	}
	return r.all[rand.IntN(n)]
}

// sessions creates, reads and revokes sessions.
func (w *work) sessions(ctx context.Context, manager *session.Manager[numbered], recent *recentSessions) {
	for n := 0; sleep(ctx, pause); n++ {
		began := now()
		user := w.ID + "-" + strconv.Itoa(n%10)
		s, err := manager.Create(ctx, user, numbered{n})
		if err != nil {
			w.failed("session", err)
			continue
		}
		w.say("session %s create %d %d true", s.ID(), began, now())
		recent.add(s)
		if !w.find(ctx, manager, s) {
			w.say("lost %s", s.ID())
		}
		called := now()
		w.say("session %s revoking %d %d false", s.ID(), called, called)
		if err := manager.Revoke(ctx, user, s.ID()); err != nil {
			w.failed("session", err)
			continue
		}
		w.say("session %s revoke %d %d true", s.ID(), called, now())
		w.ok("session", began)
	}
}

// loadSessions loads sessions while they are revoked, and later.
func (w *work) loadSessions(ctx context.Context, manager *session.Manager[numbered], recent *recentSessions) {
	for sleep(ctx, pause) {
		if s := recent.some(); s != nil {
			w.find(ctx, manager, s)
		}
	}
}

// find loads a session. It returns false if the answer is that there is none.
func (w *work) find(ctx context.Context, manager *session.Manager[numbered], s *session.Session[numbered]) bool {
	called := now()
	_, err := manager.Load(ctx, s.Token())
	missing := errors.Is(err, session.ErrNotFound)
	if err == nil || missing {
		w.say("session %s load %d %d %t", s.ID(), called, now(), err == nil)
	}
	return !missing
}

func (w *work) limit(ctx context.Context, limiter *ratelimit.Limiter) {
	for sleep(ctx, pause) {
		began := now()
		res, err := limiter.Allow(ctx, "k")
		if err == nil && res.Degraded {
			err = errors.New("degraded")
		}
		if err != nil {
			w.failed("limit", err)
			continue
		}
		w.ok("limit", began)
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
		if err := values.Delete(ctx, key); err != nil {
			w.failed("delete", err)
			continue // the client repeats it; until then, older values are no violation
		}
		w.ok("delete", began)
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
			w.failed("cache", err)
			continue
		}
		w.ok("cache", began)
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
	}
}
