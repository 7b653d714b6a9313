package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// fill stores what a batch loaded under its leases, and finishes the items.
func (b *batch[V]) fill(ctx context.Context, items []*batchItem[V], st *stamps, set *settings, cost time.Duration, outcome func(*batchItem[V]) (result[V], error)) {
	c := b.cache
	nearby := c.nearby()
	eval, track := c.core.EvalMulti, ""
	if nearby {
		eval, track = c.core.EvalMultiTracked, "1"
	}
	var give, lost []*batchItem[V] // with a lease to be given up; lost: or with none, which the server didn't say
	for begin := 0; begin < len(items); begin += chunk {
		part := items[begin:min(begin+chunk, len(items))]
		var store []*batchItem[V]
		var calls []core.Call
		var results []result[V]
		var errs []error
		var entries []sealed
		for _, item := range part {
			r, err := outcome(item)
			var entry sealed
			var encodeErr error
			switch {
			case err == nil:
				entry, encodeErr = c.encode(&r.value, set, st, cost)
				r.payload = entry.payload
			case c.opt.NegativeTTL > 0:
				entry = c.encodeNegative(st)
			default:
				give = append(give, item)
				continue
			}
			if encodeErr != nil {
				c.count.add(cNotStored, 1)
				c.core.Logger().Warn("cache: a loaded value can't be stored", "cache", c.name, "error", encodeErr)
				give = append(give, item)
				continue
			}
			store = append(store, item)
			results = append(results, r)
			errs = append(errs, err)
			entries = append(entries, entry)
			calls = append(calls, core.Call{Keys: item.pair, Args: []string{item.token, entry.data, millis(entry.ttl), track}})
		}
		tickets := make([]ticket, len(store))
		if nearby {
			for i, item := range store {
				tickets[i] = c.near.reserve(item.key)
			}
		}
		sent := time.Now()
		for i, reply := range eval(ctx, fillScript, calls) {
			item, r := store[i], results[i]
			var kept *nearEntry[V]
			msg, err := reply.Get()
			if err != nil {
				c.count.add(cErrors, 1)
				lost = append(lost, item)
			} else if stored, _ := msg.AsInt64(); stored != 1 {
				c.count.add(cLeaseLost, 1)
			} else if r.confirm(sent); nearby {
				e := found[V]{state: fresh, head: head(entries[i].data), value: r.value, payload: r.payload, header: entries[i].header, clear: st.clear, tags: st.records}
				if errs[i] != nil {
					e.state = negative
				}
				kept = c.nearEntry(item.key, &e)
			}
			if nearby {
				c.near.commit(item.key, tickets[i], kept)
			}
			c.told(item.key, item.pair)
			item.finish(r, errs[i])
		}
	}
	confirmed := b.free(ctx, give, func(item *batchItem[V]) bool {
		_, err := outcome(item)
		return errors.Is(err, ErrNotFound)
	})
	for i, item := range give {
		r, err := outcome(item)
		r.confirm(confirmed[i])
		item.finish(r, err)
	}
	b.free(ctx, lost, func(*batchItem[V]) bool { return false })
}

// free gives leases up, and says for those that were still held when that was asked. What drop is true for is deleted as well.
func (b *batch[V]) free(ctx context.Context, items []*batchItem[V], drop func(*batchItem[V]) bool) (confirmed []time.Time) {
	c := b.cache
	confirmed = make([]time.Time, len(items))
	ctx = context.WithoutCancel(ctx)
	for begin := 0; begin < len(items); begin += chunk {
		part := items[begin:min(begin+chunk, len(items))]
		calls := make([]core.Call, len(part))
		for i, item := range part {
			calls[i] = core.Call{Keys: item.pair, Args: []string{item.token, ""}}
			if drop(item) {
				calls[i].Args[1] = "1"
			}
		}
		asked := time.Now()
		for i, reply := range c.core.EvalMulti(ctx, freeScript, calls) {
			msg, err := reply.Get()
			if err != nil {
				c.count.add(cErrors, 1)
			} else if had, _ := msg.AsInt64(); had != 1 {
				c.count.add(cLeaseLost, 1)
			} else {
				confirmed[begin+i] = asked
			}
			if c.near != nil && calls[i].Args[1] != "" {
				c.near.invalidate(part[i].key)
			}
			part[i].token = ""
			c.told(part[i].key, part[i].pair)
		}
	}
	return confirmed
}
