package cache

import (
	"context"

	"github.com/redis/rueidis"
)

// InvalidateTags ends every entry that was stored with one of the tags: two round trips, however many
// entries there are. Their bytes stay until their TTL, as misses. Loads under way, anywhere, whose entries
// will have one of the tags store nothing that is valid (C1).
//
// Another process that has the tag in memory learns of it by push (C3).
func (c *Cache[V]) InvalidateTags(ctx context.Context, tags ...string) error {
	if err := checkTags(tags); err != nil {
		return c.fail("invalidate tags", err)
	}
	if len(tags) == 0 {
		return nil
	}
	ctx, end := c.observe(ctx, "invalidate tags")
	// The epoch goes first: see late.
	err := c.invalidate(ctx, []ref{epochRef}, tagRefs(tags))
	end(err)
	if err != nil {
		return c.fail("invalidate tags", err)
	}
	return nil
}

// Clear ends every entry of the cache: one round trip, however many there are. Their bytes stay until their
// TTL, as misses. Loads under way, anywhere, store nothing that is valid (C1).
//
// Another process learns of it by push (C3).
func (c *Cache[V]) Clear(ctx context.Context) error {
	ctx, end := c.observe(ctx, "clear")
	err := c.invalidate(ctx, []ref{clearRef}, nil)
	end(err)
	if err != nil {
		return c.fail("clear", err)
	}
	return nil
}

// invalidate deletes records, on the server and in this process: those of first before those of then. If any fails, all are owed:
// a record of then that was deleted before the ones of first was deleted too early.
func (c *Cache[V]) invalidate(ctx context.Context, first, then []ref) error {
	c.count.add(cInvalidations, int64(len(first)+len(then)))
	err := c.deleteRecords(ctx, first)
	if later := c.deleteRecords(ctx, then); err == nil {
		err = later
	}
	if worthReplaying(err) {
		c.owe(debt{refs: append(first, then...)})
	}
	c.forgetRecords(first)
	c.forgetRecords(then)
	if err != nil {
		c.count.add(cErrors, 1)
	}
	return err
}

// dropRecords is invalidate for what is owed, in which the epoch comes before all others.
func (c *Cache[V]) dropRecords(ctx context.Context, refs []ref) error {
	err := c.deleteRecords(ctx, refs)
	c.forgetRecords(refs)
	return err
}

func (c *Cache[V]) deleteRecords(ctx context.Context, refs []ref) error {
	var failed error
	for begin := 0; begin < len(refs); begin += chunk {
		part := refs[begin:min(begin+chunk, len(refs))]
		cmds := make([]rueidis.Completed, len(part))
		for i, r := range part {
			cmds[i] = c.core.B().Del().Key(c.space.Sibling(r.tag, r.kind)).Build()
		}
		c.at("drop", part[0].kind)
		for _, r := range c.core.DoMulti(ctx, cmds...) {
			if _, err := r.Get(); err != nil {
				failed = err
			}
		}
	}
	return failed
}

func (c *Cache[V]) forgetRecords(refs []ref) {
	for _, r := range refs {
		c.generations.drop(r)
		c.core.Hub().Announce(c.space.Sibling(r.tag, r.kind), c.tracker)
	}
	// Flights don't say which tags they will have.
	c.flights.ForgetFunc(nil)
	c.refreshes.ForgetFunc(nil)
}
