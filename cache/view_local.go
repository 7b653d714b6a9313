package cache

import (
	"github.com/redstart-go/redstart/internal/cacheview"
	"github.com/redstart-go/redstart/internal/core"
)

// viewLocals asks the Caches with this name and client.
func viewLocals(c *core.Core, name, key string) []cacheview.Local {
	space, err := c.Keys("cache", name)
	if err != nil {
		return nil
	}
	var all []cacheview.Local
	for _, one := range c.Shared(space.Prefix(), newSiblings).(*siblings).list() {
		all = append(all, one.view(key))
	}
	return all
}

// view describes this Cache and what it knows of a key.
func (c *Cache[V]) view(key string) cacheview.Local {
	l := cacheview.Local{
		Reader:  cacheview.Reader{Codec: c.opt.Codec.ID(), Schema: c.schema, StaleFor: c.opt.StaleFor},
		Version: c.opt.Version, CodecName: c.opt.Codec.Name(),
		TTL: c.opt.TTL, Lease: c.leaseTTL(), HoldDown: c.opt.HoldDown,
		Near: cacheview.Near{State: "off"}, Pending: c.pends(key), Loading: c.flights.Waiters(key)+c.refreshes.Waiters(key) > 0,
	}
	if c.near == nil {
		return l
	}
	now := c.core.Clock().Now()
	e := c.near.last(key, now)
	switch l.Near.State = "none"; {
	case e == nil:
		return l
	case c.near.get(key, now) == nil:
		l.Near.State = "suspect"
	case now >= e.soft:
		l.Near.State = "stale"
	default:
		l.Near.State = "fresh"
	}
	l.Near.Left = max(e.expires-now, 0)
	return l
}
