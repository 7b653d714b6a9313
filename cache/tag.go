package cache

import (
	"context"
	"slices"

	"github.com/redstart-go/redstart/internal/core"
)

// InvalidateTags ends every entry that was stored with one of the tags: two round trips for any
// number of entries. The entries stay on the server until their TTL, as misses. Loads that are
// running in any process, and whose entries have one of the tags, store no valid entry (C1).
//
// Other processes that know the tag are notified by a push (C3). It returns
// the errors of [Cache.Delete].
func (c *Cache[V]) InvalidateTags(ctx context.Context, tags ...string) error {
	if err := checkTags(tags); err != nil {
		return c.fail("invalidate tags", err)
	}
	if len(tags) == 0 {
		return nil
	}
	if err := c.usable(); err != nil {
		return c.fail("invalidate tags", err)
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

// Clear ends every entry of the cache: one round trip for any number of entries. The entries stay
// on the server until their TTL, as misses. Loads that are running in any process store no valid
// entry (C1).
//
// Other processes are notified by a push (C3). It returns the errors of [Cache.Delete].
func (c *Cache[V]) Clear(ctx context.Context) error {
	if err := c.usable(); err != nil {
		return c.fail("clear", err)
	}
	ctx, end := c.observe(ctx, "clear")
	err := c.invalidate(ctx, []ref{clearRef}, nil)
	end(err)
	if err != nil {
		return c.fail("clear", err)
	}
	return nil
}

// invalidate deletes generations on the server and in this process: those of first before those of
// then. Failed ones are pending. If one of first fails, all are pending: a generation of then was
// deleted too early if one of first still exists.
func (c *Cache[V]) invalidate(ctx context.Context, first, then []ref) error {
	c.count.add(cInvalidations, int64(len(first)+len(then)))
	number := c.lastFailed()
	firstErrs, thenErrs := c.deleteGenerations(ctx, first), c.deleteGenerations(ctx, then)
	all, errs := append(first, then...), append(firstErrs, thenErrs...)
	err := firstOf(errs)
	failed := all
	if !slices.ContainsFunc(firstErrs, worthReplaying) {
		failed = failedOf(all, errs)
	}
	if len(failed) > 0 {
		c.pend(failures{refs: failed}, err)
	}
	c.forgetGenerations(all)
	c.confirmed(number, failures{refs: slices.DeleteFunc(slices.Clone(all),
		func(r ref) bool { return slices.Contains(failed, r) })})

	if err != nil {
		c.count.add(cErrors, 1)
	}
	return err
}

// failedOf returns those that need a replay.
func failedOf(refs []ref, errs []error) []ref {
	var failed []ref
	for i, err := range errs {
		if worthReplaying(err) {
			failed = append(failed, refs[i])
		}
	}
	return failed
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// dropGenerations is invalidate for a replay. It returns an error for each generation.
func (c *Cache[V]) dropGenerations(ctx context.Context, refs []ref) []error {
	if len(refs) == 0 {
		return nil
	}
	errs := c.deleteGenerations(ctx, refs)
	c.forgetGenerations(refs)
	return errs
}

// deleteGenerations deletes generations on the server. It returns an error for each.
func (c *Cache[V]) deleteGenerations(ctx context.Context, refs []ref) []error {
	errs := make([]error, 0, len(refs))
	for begin := 0; begin < len(refs); begin += chunk {
		part := refs[begin:min(begin+chunk, len(refs))]
		cmds := make([]core.Command, len(part))
		for i, r := range part {
			cmds[i] = core.Write("DEL", c.space.Sibling(r.tag, r.kind))
		}
		c.points.Hold("drop", part[0].kind)
		for _, r := range c.core.DoMulti(ctx, cmds...) {
			_, err := r.Get()
			errs = append(errs, err)
		}
	}
	return errs
}

func (c *Cache[V]) forgetGenerations(refs []ref) {
	for _, r := range refs {
		c.generations.drop(r)
		c.core.Hub().Announce(c.space.Sibling(r.tag, r.kind), c.tracker)
	}
	// In-flight loads don't know the tags that they will have.
	c.flights.ForgetFunc(nil)
	c.refreshes.ForgetFunc(nil)
}
