package ratelimit

import (
	"strings"
	"sync/atomic"
	"time"
)

// planCache is the plans in this process' memory, bounded in count and bytes. Plans.mu guards it;
// find needs it for reading only.
type planCache struct {
	maxNames, maxBytes int
	bytes              int
	entries            map[string]*planEntry
	limiters           map[string]*planLimiter // by the stored text of their rules
}

// planEntry is what was read for one name.
type planEntry struct {
	text    string   // stored text of the rules; "": none
	limiter *Limiter // nil: no rules, or rules that this release cannot read
	version int64    // version of all plans when it was read
	asked   time.Time
	used    atomic.Int64
}

// planLimiter is a limiter and the number of names with its rules.
type planLimiter struct {
	limiter *Limiter
	names   int
}

const (
	planEntrySize = 200 // bytes of an entry without its name
	// bytes of a limiter without the text of its rules: plan, arguments, queues
	planLimiterSize = 4 << 10
	planProbes      = 16 // how many names are examined to find one to replace
)

func newPlanCache(names, bytes int) planCache {
	return planCache{maxNames: names, maxBytes: bytes, entries: map[string]*planEntry{}, limiters: map[string]*planLimiter{}}
}

// find returns the entry of a name, and records its use.
func (c *planCache) find(name string, now time.Time) *planEntry {
	e := c.entries[name]
	if e != nil {
		if second := now.Unix(); e.used.Load() != second {
			e.used.Store(second)
		}
	}
	return e
}

// put stores what was read for a name, and makes room for it.
func (c *planCache) put(name, text string, l *Limiter, version int64, asked time.Time) {
	c.drop(name)
	name, text = strings.Clone(name), strings.Clone(text) // they are parts of larger buffers
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

// evict drops the least recently used of a few names, other than keep.
func (c *planCache) evict(keep string) bool {
	oldest, at, found, looked := "", int64(0), false, 0
	for name, e := range c.entries {
		if used := e.used.Load(); name != keep && (!found || used < at) {
			oldest, at, found = name, used, true
		}
		if looked++; looked == planProbes {
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
