package cache_test

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
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// The history test runs random operations of many callers, in several clients and in a process that
// is killed repeatedly. The versions of the source only grow. The test checks C1 by a model:
//
//   - the source has a change before its invalidation; after the invalidation has returned, the
//     version is a floor;
//   - a call returns no version below the floor at its begin;
//   - a version is never newer than the source at the end of the call.
//
// In the client that invalidated, the floor holds at once for each kind of invalidation. In another
// client without a near cache, it holds at once for Delete, Set, SetMany and DeletePrefix. For the
// rest it holds after the push (C3). A push has no deadline that a test could check on a busy
// machine: these are checked at the end.
type history struct {
	keys   []string
	source []atomic.Int64 // versions, by key
	writes []sync.Mutex   // one writer per key: the change and its invalidation belong together
	floors [][]atomic.Int64

	failed atomic.Pointer[string]
	ops    atomic.Int64
}

const (
	historyKeys = 6
	atOnce      = 0 // the floor of all clients; floor 1+i belongs to client i
)

func (h *history) load(ctx context.Context, key string) (user, error) {
	k := h.index(key)
	v := h.source[k].Load()
	if rand.IntN(3) == 0 { // invalidations overtake slow loaders
		select {
		case <-time.After(time.Duration(rand.IntN(4000)) * time.Microsecond):
		case <-ctx.Done():
			return user{}, context.Cause(ctx)
		}
	}
	if rand.IntN(4) == 0 {
		cache.Adjust(ctx, cache.Tags("late"))
	}
	switch {
	case rand.IntN(40) == 0:
		return user{}, errors.New("the source is away for a moment")
	case v == 0:
		return user{}, cache.ErrNotFound
	}
	return user{ID: key, Version: int(v)}, nil
}

func (h *history) index(key string) int {
	k, _ := strconv.Atoi(strings.TrimPrefix(key, "k:"))
	return k
}

func (h *history) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	h.failed.CompareAndSwap(nil, &text)
}

func raise(floor *atomic.Int64, to int64) {
	for {
		was := floor.Load()
		if was >= to || floor.CompareAndSwap(was, to) {
			return
		}
	}
}

// read reads a key and checks the version.
func (h *history) read(ctx context.Context, c *cache.Cache[user], client int) {
	k := rand.IntN(historyKeys)
	keys := []string{h.keys[k]}
	floors := []int64{h.floor(client, k)}
	many := rand.IntN(5) == 0
	if many {
		for j := range 3 {
			k := (k + 1 + j) % historyKeys
			keys = append(keys, h.keys[k])
			floors = append(floors, h.floor(client, k))
		}
	}
	got := make(map[string]user)
	var err error
	if many {
		got, err = c.GetOrLoadMany(ctx, keys, func(ctx context.Context, keys []string) (map[string]user, error) {
			found := make(map[string]user)
			for _, key := range keys {
				v, err := h.load(ctx, key)
				if err == nil {
					found[key] = v
				} else if !errors.Is(err, cache.ErrNotFound) {
					return nil, err
				}
			}
			return found, nil
		}, cache.Tags("batch"))
	} else {
		var v user
		v, err = c.GetOrLoad(ctx, keys[0], h.load, cache.Tags("one"))
		if err == nil {
			got[keys[0]] = v
		}
	}
	if err != nil && !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrLoadFailed) &&
		!strings.Contains(err.Error(), "for a moment") {
		h.fail("read: %v", err)
	}
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		return // an absent key may be one that failed
	}
	for i, key := range keys {
		v := int64(got[key].Version)
		if v < floors[i] {
			h.fail("client %d got version %d of %s, %d was invalidated before it asked (many: %v)", client, v,
				key, floors[i], many)
		}
		if now := h.source[h.index(key)].Load(); v > now {
			h.fail("client %d got version %d of %s, the source has %d", client, v, key, now)
		}
	}
}

func (h *history) floor(client, k int) int64 {
	return max(h.floors[atOnce][k].Load(), h.floors[1+client][k].Load())
}

// write changes the source, invalidates in a random way, and raises the floors.
func (h *history) write(ctx context.Context, c *cache.Cache[user], client int, near, scan bool) {
	k := rand.IntN(historyKeys)
	h.writes[k].Lock()
	defer h.writes[k].Unlock()
	v := h.source[k].Add(1)
	key := h.keys[k]
	everywhere := true
	var err error
	switch way := rand.IntN(20); {
	case way < 8:
		err = c.Delete(ctx, key)
	case way < 11:
		err = c.Set(ctx, key, user{ID: key, Version: int(v)}, cache.Tags("one"))
	case way < 12:
		err = c.SetMany(ctx, map[string]user{key: {ID: key, Version: int(v)}}, cache.Tags("one"))
	case way < 16:
		everywhere = false
		err = c.InvalidateTags(ctx, "one", "batch", "late")
	case way < 18:
		everywhere = false
		err = c.Clear(ctx)
	case scan:
		err = c.DeletePrefix(ctx, key)
	default:
		err = c.Delete(ctx, key, h.keys[(k+1)%historyKeys])
	}
	if err != nil {
		h.fail("write: %v", err)
		return
	}
	if everywhere && !near {
		raise(&h.floors[atOnce][k], v)
	}
	raise(&h.floors[1+client][k], v)
}

func TestC1_History(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		for _, near := range []int{0, 4} {
			runHistory(t, e, near)
		}
	})
}

func runHistory(t *testing.T, e rig.Engine, near int) {
	const clients = 3
	h := &history{source: make([]atomic.Int64, historyKeys), writes: make([]sync.Mutex, historyKeys)}
	for k := range historyKeys {
		h.keys = append(h.keys, fmt.Sprintf("k:%d", k))
	}
	for range 1 + clients {
		h.floors = append(h.floors, make([]atomic.Int64, historyKeys))
	}
	opts := cache.Options{
		TTL: 300 * time.Millisecond, StaleFor: 300 * time.Millisecond, NegativeTTL: 50 * time.Millisecond,
		LoadTimeout:  5 * time.Second,
		EarlyRefresh: 5, Near: cache.NearOptions{MaxEntries: near},
	}
	e.Namespace += fmt.Sprint("-", near)
	var all []*cache.Cache[user]
	for i := range clients {
		if i == clients-1 {
			opts.Version = "2" // as in a rolling deploy
		}
		c := open(t, e, opts)
		if i == 0 {
			optimistic(t, c)
		}
		warm(t, c)
		all = append(all, c)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	rounds := rig.Soak(150, 20_000)
	for i, c := range all {
		for range 4 {
			wg.Go(func() {
				for range rounds {
					if h.failed.Load() != nil {
						return
					}
					if rand.IntN(4) == 0 {
						h.write(ctx, c, i, near > 0, e.Name != "acl")
					} else {
						h.read(ctx, c, i)
					}
					h.ops.Add(1)
				}
			})
		}
	}
	wg.Go(func() { killers(t, ctx, h, e) })
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatal("the history does not end")
	}
	if text := h.failed.Load(); text != nil {
		t.Fatal(*text)
	}
	// At the end, every client gets the newest version after the pushes.
	for k, key := range h.keys {
		if err := all[0].Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
		for i, c := range all {
			rig.Eventually(t, 10*time.Second, fmt.Sprintf("client %d has the last version of %s", i, key), func() bool {
				v, err := c.GetOrLoad(ctx, key, func(context.Context, string) (user, error) {
					return user{ID: key, Version: int(h.source[k].Load())}, nil
				})
				return err == nil && int64(v.Version) == h.source[k].Load()
			})
		}
	}
}

// killers are processes that take leases and load values that are old by the time of their fill.
// They are killed at random moments. They run several times during the history.
func killers(t *testing.T, ctx context.Context, h *history, e rig.Engine) {
	if e.Name != "standalone" && e.Name != "cluster" {
		return
	}
	for range rig.Soak(2, 40) {
		p := rig.Spawn(t, "history", map[string]string{"TEST_URL": e.URL, "TEST_NAMESPACE": e.Namespace})
		deadline := time.After(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		for alive := true; alive; {
			select {
			case line, ok := <-p.Lines():
				if !ok {
					alive = false
					break
				}
				// The process asks for the version of a key in the middle of its load.
				k, err := strconv.Atoi(line)
				if err != nil {
					h.fail("the other process: %s", line)
					return
				}
				p.Send(fmt.Sprint(h.source[k].Load()))
			case <-deadline:
				alive = false
			case <-ctx.Done():
				alive = false
			}
		}
		p.Kill()
	}
}

// historyRole loads keys. It asks its parent for their versions.
func historyRole() {
	ctx := context.Background()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("TEST_URL"),
		Namespace: os.Getenv("TEST_NAMESPACE"), CommandTimeout: 10 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := cache.New[user](client, "users", cache.Options{TTL: 300 * time.Millisecond, LoadTimeout: 500 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	in := bufio.NewScanner(os.Stdin)
	var asking sync.Mutex // a refresh in the background asks too, and each answer belongs to one request
	ask := func(k int) (int, error) {
		asking.Lock()
		defer asking.Unlock()
		fmt.Println(k)
		if !in.Scan() {
			os.Exit(0)
		}
		return strconv.Atoi(in.Text())
	}
	for {
		k := rand.IntN(historyKeys)
		key := fmt.Sprintf("k:%d", k)
		_, err := c.GetOrLoad(ctx, key, func(ctx context.Context, _ string) (user, error) {
			v, err := ask(k)
			if err != nil || v == 0 {
				return user{}, cache.ErrNotFound
			}
			for range rand.IntN(8) { // its version is old after it has asked for others
				c.Get(ctx, fmt.Sprintf("k:%d", rand.IntN(historyKeys)))
			}
			return user{ID: key, Version: v}, nil
		}, cache.Tags("one"))
		_ = err
	}
}
