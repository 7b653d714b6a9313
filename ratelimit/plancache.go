package ratelimit

import (
	"strings"
	"sync/atomic"
	"time"
)

// planCache is the plans that a process has in memory, bounded in count and bytes. The caller has the lock of Plans: for find, to read.
type planCache struct {
	maxNames, maxBytes int
	bytes              int
	entries            map[string]*planEntry
	limiters           map[string]*planLimiter // by their rules as stored
}

// planEntry is what was read of one name.
type planEntry struct {
	text    string   // the rules as stored; "": none
	limiter *Limiter // nil: no rules, or none that this release can read
	version int64    // of all plans, when it was read
	asked   time.Time
	used    atomic.Int64
}

// planLimiter is a limiter and how many names have its rules.
type planLimiter struct {
	limiter *Limiter
	names   int
}

const (
	planEntrySize   = 200     // bytes of an entry besides its name
	planLimiterSize = 4 << 10 // bytes of a limiter besides its rules' text: plan, arguments, queues
	planLooks       = 16      // how many names a new one looks at for one to replace
)

func newPlanCache(names, bytes int) planCache {
	return planCache{maxNames: names, maxBytes: bytes, entries: map[string]*planEntry{}, limiters: map[string]*planLimiter{}}
}

// find returns what is known of a name, and notes that it was used.
func (c *planCache) find(name string, now time.Time) *planEntry {
	e := c.entries[name]
	if e != nil {
		if second := now.Unix(); e.used.Load() != second {
			e.used.Store(second)
		}
	}
	return e
}

// put stores what was read of a name, and makes room for it.
func (c *planCache) put(name, text string, l *Limiter, version int64, asked time.Time) {
	c.drop(name)
	name, text = strings.Clone(name), strings.Clone(text) // parts of larger buffers
	e := &planEntry{text: text, limiter: l, version: version, asked: asked}
	e.used.Store(time.Now().Unix())
	c.entries[name] = e
	c.bytes += planEntrySize + len(name)
	if l != nil {
		shared := c.limiters[text]
		if shared == nil {
			shared = &planLimiter{limiter: l}
			c.limiters[text] = shared
			c.bytes += planLimiterSize + len(text)
		}
		shared.names++
	}
	for (len(c.entries) > c.maxNames || c.bytes > c.maxBytes) && c.evict(name) {
	}
}

// evict drops, of a few names, the one that was not used for longest, other than keep.
func (c *planCache) evict(keep string) bool {
	oldest, at, found, looked := "", int64(0), false, 0
	for name, e := range c.entries {
		if used := e.used.Load(); name != keep && (!found || used < at) {
			oldest, at, found = name, used, true
		}
		if looked++; looked == planLooks {
			break
		}
	}
	if !found {
		return false
	}
	c.drop(oldest)
	return true
}

func (c *planCache) drop(name string) {
	e := c.entries[name]
	if e == nil {
		return
	}
	delete(c.entries, name)
	c.bytes -= planEntrySize + len(name)
	if e.limiter == nil {
		return
	}
	if shared := c.limiters[e.text]; shared != nil {
		if shared.names--; shared.names == 0 {
			delete(c.limiters, e.text)
			c.bytes -= planLimiterSize + len(e.text)
		}
	}
}
