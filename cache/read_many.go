package cache

import (
	"context"
	"slices"

	"github.com/redstart-go/redstart/internal/core"
)

// foundKey is the result of one key of a batch.
type foundKey[V any] struct {
	key  string
	err  error
	size int // bytes on the server
	found[V]
}

// readMany reads several keys from the server: one round trip per node, unless generations have to
// be read too.
func (c *Cache[V]) readMany(ctx context.Context, keys []string) []foundKey[V] {
	if len(keys) == 0 {
		return nil
	}
	all := make([]foundKey[V], len(keys))
	for i, key := range keys {
		all[i].key = key
	}
	for i := range all {
		if c.pends(all[i].key) {
			all[i].err = errPending
		}
	}
	tracking := c.core.Capabilities().Tracking
	clear, err := c.clearNow(ctx)
	if err != nil {
		return failAll(all, err)
	}
	nearby := c.near != nil && tracking
	var tickets []ticket
	if nearby {
		tickets = make([]ticket, len(keys))
		for i, key := range keys {
			tickets[i] = c.near.reserve(key)
		}
	}
	c.fetchMany(ctx, all, nearby, clear)
	c.checkTagsMany(ctx, all)
	for i := range all {
		if all[i].err == nil {
			c.decode(&all[i].found)
		}
		if nearby {
			var kept *nearEntry[V]
			if all[i].err == nil && all[i].state != missing {
				kept = c.nearEntry(keys[i], &all[i].found)
			}
			c.near.commit(keys[i], tickets[i], kept, all[i].answered(all[i].err))
		}
	}
	return all
}

func failAll[V any](all []foundKey[V], err error) []foundKey[V] {
	for i := range all {
		all[i].err = err
	}
	return all
}

// A batch is read in parts, one after the other. A part has at most partKeys keys, and at most
// partBytes bytes if its values are as large as the largest value of the part before.
const (
	partKeys  = 1000
	partBytes = 8 << 20
)

// fetchMany reads and opens all keys that have no error yet. On one server, a part is one MGET. On
// a cluster, it is a pipeline of GETs per node.
func (c *Cache[V]) fetchMany(ctx context.Context, all []foundKey[V], tracked bool, clear *generation) {
	do := c.core.DoMulti
	if tracked {
		do = c.core.DoMultiTracked
	}
	addr, known := c.core.Owner(0)
	single := known && addr == ""
	for len(all) > 0 {
		n := min(len(all), partKeys, max(1, partBytes/int(max(c.largest.Load(), 1))))
		part, names := all[:n], c.valueKeys(all[:n])
		all = all[n:]
		if single {
			c.takeArray(part, do(ctx, core.Read("MGET", names[0], names[1:]...))[0], clear)
		} else {
			cmds := make([]core.Command, n)
			for i, name := range names {
				cmds[i] = core.Read("GET", name)
			}
			for i, r := range do(ctx, cmds...) {
				msg, err := r.Get()
				c.takeReply(&part[i], &msg, err, clear)
			}
		}
		largest := 0
		for i := range part {
			largest = max(largest, part[i].size)
		}
		c.largest.Store(int64(largest))
	}
}

func (c *Cache[V]) valueKeys(all []foundKey[V]) []string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = c.valueKey(all[i].key)
	}
	return names
}

// takeArray opens the entries of a reply to MGET.
func (c *Cache[V]) takeArray(part []foundKey[V], r core.Result, clear *generation) {
	msg, err := r.Get()
	var values []core.Reply
	if err == nil {
		values, err = msg.ToArray()
	}
	if err == nil && len(values) != len(part) {
		err = errShort
	}
	if err != nil {
		failAll(part, err)
		return
	}
	for i := range part {
		c.takeReply(&part[i], &values[i], nil, clear)
	}
}

// takeReply opens the entry of a reply to GET, or of one element of a reply to MGET.
func (c *Cache[V]) takeReply(e *foundKey[V], msg *core.Reply, err error, clear *generation) {
	var data string
	if err == nil && !msg.IsNil() {
		data, err = msg.ToString()
	}
	switch {
	case e.err != nil: // an invalidation is pending
	case err != nil && wrongType(err):
		c.count.add(cUnreadable, 1)
		e.found = found[V]{state: rejected}
	case err != nil:
		e.err = err
	case !msg.IsNil():
		e.found, e.size = c.open(data, clear), len(data)
	}
}

// checkTagsMany checks the tags of all entries. It reads each generation once.
func (c *Cache[V]) checkTagsMany(ctx context.Context, all []foundKey[V]) {
	at := make(map[string]int)
	var refs []ref
	for i := range all {
		if all[i].state != fresh {
			continue
		}
		for _, tag := range all[i].header.tags {
			if _, ok := at[tag.name]; !ok {
				at[tag.name] = len(refs)
				refs = append(refs, ref{tagSuffix, tag.name})
			}
		}
	}
	if refs == nil {
		return
	}
	gens, err := c.captureEach(ctx, refs, 0, c.core.Capabilities().Tracking)
	for i := range all {
		e := &all[i]
		if e.state != fresh || len(e.header.tags) == 0 {
			continue
		}
		own := make([]*generation, len(e.header.tags))
		for j, tag := range e.header.tags {
			own[j] = gens[at[tag.name]]
		}
		if slices.Contains(own, nil) {
			e.err = err
			continue
		}
		e.err = c.checkTags(&e.found, own)
	}
}
