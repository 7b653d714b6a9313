package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// release is a lease to release without a value.
type release struct {
	key     string
	names   []string // see ask.names
	token   string
	drop    bool   // remove the stored value too
	outcome string // for processes that wait for the load; "" for none
	since   time.Time
}

// release releases leases: one round trip per node. It returns the time before the requests, and
// which leases were still held then.
func (c *Cache[V]) release(ctx context.Context, releases []release) (asked time.Time, held []bool) {
	asked = time.Now()
	if len(releases) > 0 {
		held, _ = c.tryRelease(context.WithoutCancel(ctx), releases) // a caller that has left must not keep keys locked
	}
	return asked, held
}

func (c *Cache[V]) tryRelease(ctx context.Context, releases []release) (held []bool, unknown []release) {
	held = make([]bool, len(releases))
	for begin := 0; begin < len(releases); begin += chunk {
		part := releases[begin:min(begin+chunk, len(releases))]
		calls := make([]core.Call, len(part))
		for i, r := range part {
			drop := ""
			if r.drop {
				drop = "1"
			}
			calls[i] = core.Call{Keys: r.names, Args: []string{r.token, drop, r.outcome, millis(outcomeTTL)}}
		}
		for i, reply := range c.core.EvalMulti(ctx, freeScript, calls) {
			msg, err := reply.Get()
			switch {
			case errors.Is(err, fault.ErrUnavailable), errors.Is(err, fault.ErrIndeterminate):
				c.count.add(cErrors, 1)
				unknown = append(unknown, part[i])
			case err != nil:
				c.count.add(cErrors, 1)
			case isOne(msg):
				held[begin+i] = true
			default:
				c.count.add(cLeaseLost, 1)
			}
			if c.near != nil && part[i].drop {
				c.near.invalidate(part[i].key)
			}
			c.announce(part[i].key, part[i].names)
		}
	}
	return held, unknown
}

// releases are leases that may have been granted, or that are not needed. One goroutine releases
// them in the background. The connection keeps the order: a release reaches the server after its
// request. A server that was stopped may grant a lease when it continues. While it can't be
// reached, the release is therefore repeated until the lease would have ended.
type releases struct {
	mu      sync.Mutex
	queue   []release
	running bool
}

// maxReleases bounds the queue. Further leases end with their TTL.
const maxReleases = 10_000

func (c *Cache[V]) releaseLater(r release) {
	q := &c.releases
	r.since = c.core.Time().Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) >= maxReleases {
		return
	}
	q.queue = append(q.queue, r)
	if !q.running {
		q.running = c.life.group.Work("release of leases of cache "+c.name, c.releaseQueued)
	}
}

func (c *Cache[V]) releaseQueued(ctx context.Context) {
	q := &c.releases
	for wait := replayFirst; ; wait = min(2*wait, replayMax) {
		q.mu.Lock()
		queue := q.queue
		q.queue = nil
		q.running = len(queue) > 0
		q.mu.Unlock()
		if len(queue) == 0 {
			return
		}

		_, unknown := c.tryRelease(context.WithoutCancel(ctx), queue)
		if len(unknown) == 0 {
			wait = replayFirst / 2
			continue
		}
		q.mu.Lock()
		for _, r := range unknown {
			if c.core.Time().Since(r.since) < c.leaseTTL() && len(q.queue) < maxReleases {
				q.queue = append(q.queue, r)
			}
		}
		q.mu.Unlock()
		if !sleep(ctx, nil, wait/2+rand.N(wait/2+1)) {
			q.mu.Lock()
			q.running = false
			q.mu.Unlock()
			return
		}
	}
}
