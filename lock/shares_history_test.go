package lock_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// holding is one grant or one end of a hold, of any kind, in a history.
type holding struct {
	end    bool
	token  int64
	kind   byte   // 's' permits, 'r' reader, 'w' writer, 'm' plain names
	weight int    // number of permits
	names  string // names of plain locks, one letter each
}

// holdModel is a semaphore of three permits, a read-write lock, and the plain locks x, y, z. Its
// state is the holds.
var holdModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		holds, h := state.(string), input.(holding)
		entry := fmt.Sprintf("%d:%c:%d:%s;", h.token, h.kind, h.weight, h.names)
		if h.end {
			return strings.Contains(holds, entry), strings.Replace(holds, entry, "", 1)
		}
		used := h.weight
		for _, other := range strings.FieldsFunc(holds, func(c rune) bool { return c == ';' }) {
			f := strings.Split(other, ":")
			switch weight := int(f[2][0] - '0'); {
			case h.kind == 's' && f[1] == "s":
				used += weight
			case h.kind == 'w' && strings.Contains("rw", f[1]), h.kind == 'r' && f[1] == "w",
				h.kind == 'm' && f[1] == "m" && strings.ContainsAny(f[3], h.names):
				return false, holds
			}
		}
		return used <= 3 || h.kind != 's', holds + entry
	},
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byLock := map[byte][]porcupine.Operation{}
		for _, op := range history {
			kind := op.Input.(holding).kind
			if kind == 'w' {
				kind = 'r'
			}
			byLock[kind] = append(byLock[kind], op)
		}
		for _, part := range byLock {
			parts = append(parts, part)
		}
		return parts
	},
}

// TestK1_SharesAndSeveralNames: semaphores with several permits, both sides of a read-write lock,
// plain locks and Alls of the same names, during cut connections, a silent network and a stopped
// server. A correct lock could have produced each history.
func TestK1_SharesAndSeveralNames(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxies := []*rig.Proxy{rig.NewProxy(t, server.Addr()), rig.NewProxy(t, server.Addr()), rig.NewProxy(t, server.Addr())}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	for p, proxy := range proxies {
		l := newLocker(t, open(t, proxy.URL(), "app",
			func(cfg *redstart.Config) { cfg.CommandTimeout = time.Second }),
			lock.Options{TTL: 2 * time.Second, Group: "g", Wait: 2 * time.Second})
		for c := range 5 {
			client := p*5 + c
			wg.Go(func() {
				for ctx.Err() == nil {
					called := time.Since(began).Nanoseconds()
					held, h, err := acquireAny(ctx, l, c)
					if err != nil {
						pause(5 * time.Millisecond)
						continue
					}
					granted := time.Since(began).Nanoseconds()
					h.token = held.Token()
					pause(rand.N(4 * time.Millisecond))
					// the last moment at which it is certainly held
					last := time.Since(began).Nanoseconds()
					lost := held.Err() != nil
					err = held.Release(context.Background())
					end := h
					end.end = true
					released := porcupine.Operation{ClientId: client, Input: end, Call: last,
						Return: time.Since(began).Nanoseconds()}
					if lost || err != nil {
						// it ended at an unknown time
						released.Call, released.Return = granted, math.MaxInt64
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: client, Input: h, Call: called,
						Return: granted}, released)
					mu.Unlock()
				}
			})
		}
	}
	for range rig.Soak(1, 20) {
		pause(200 * time.Millisecond)
		proxies[0].Cut()
		pause(200 * time.Millisecond)
		proxies[1].Stall()
		pause(500 * time.Millisecond)
		proxies[1].Resume()
		pause(200 * time.Millisecond)
		server.Stop()
		pause(300 * time.Millisecond)
		server.Continue()
		pause(300 * time.Millisecond)
	}
	stop()
	wg.Wait()
	if len(history) < 200 {
		t.Errorf("%d operations: this run showed little", len(history))
	}
	checkHistory(t, "shares and several names", holdModel, separate(history))
}

// acquireAny acquires one of the kinds in turn.
func acquireAny(ctx context.Context, l *lock.Locker, c int) (*lock.Lock, holding, error) {
	var g *lock.Resource
	var err error
	h := holding{weight: 1}
	var opts []lock.CallOption
	switch c {
	case 0, 1:
		h.kind, h.weight = 's', 1+rand.IntN(3)
		opts = []lock.CallOption{lock.Permits(h.weight)}
		g, err = l.Semaphore("s", 3)
	case 2:
		h.kind = 'r'
		if g, err = l.Reader("rw"); rand.IntN(3) == 0 {
			h.kind = 'w'
			g, err = l.Writer("rw")
		}
	case 3:
		h.kind, h.names = 'm', []string{"x", "y", "z"}[rand.IntN(3)]
		held, err := l.Acquire(ctx, h.names)
		return held, h, err
	default:
		h.kind, h.names = 'm', []string{"xy", "zx", "xyz"}[rand.IntN(3)]
		g, err = l.All(strings.Split(h.names, "")...)
	}
	if err != nil {
		return nil, h, err
	}
	held, err := g.Acquire(ctx, opts...)
	return held, h, err
}
