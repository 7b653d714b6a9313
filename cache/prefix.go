package cache

import (
	"context"
	"errors"
	"strings"
)

// DeletePrefix removes every key that begins with prefix. The prefix is plain text and no pattern.
// The empty prefix means every key; [Cache.Clear] does the same in one round trip.
//
// It takes two SCANs of every primary, also over the keys of other users: about 1 ms of server time
// per 1,000 keys, in small steps. Tags are much cheaper. It needs the ACL rule +scan
// (deploy/acl/redstart-scan.acl); without it the error is redstart.ErrDenied. After any error, some
// keys may be removed and others not. It is safe to repeat.
func (c *Cache[V]) DeletePrefix(ctx context.Context, prefix string) error {
	if err := checkKey(prefix); err != nil {
		return c.fail("delete prefix", err)
	}
	if err := c.usable(); err != nil {
		return c.fail("delete prefix", err)
	}
	c.count.add(cInvalidations, 1)
	ctx, end := c.observe(ctx, "delete prefix")
	number := c.lastFailed()
	err := c.scanTwice(ctx, prefix)
	end(err)
	if worthReplaying(err) {
		c.pend(failures{prefixes: []string{prefix}}, err)
	}
	c.allForgetPrefix(prefix) // see pend
	if err != nil {
		c.count.add(cErrors, 1)
		return c.fail("delete prefix", err)
	}
	c.confirmed(number, failures{prefixes: []string{prefix}})
	return nil
}

// removePrefix replays a DeletePrefix.
func (c *Cache[V]) removePrefix(ctx context.Context, prefix string) error {
	err := c.scanTwice(ctx, prefix)
	c.allForgetPrefix(prefix)
	return err
}

// scanTwice deletes the keys of a prefix on the server. A running load has its lease on the server
// before the first scan begins, and a scan finds every key that exists from its beginning to its
// end. Either the first scan finds the lease, and the load can't store. Or the load stores during
// the first scan, and the second scan finds the value.
//
//	scan 1   ··K·············L··      K did not exist yet, L no longer
//	load     L══════fill: K, no L
//	scan 2                     ··K··
func (c *Cache[V]) scanTwice(ctx context.Context, prefix string) error {
	for range 2 {
		if err := c.scanPrefix(ctx, prefix); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache[V]) allForgetPrefix(prefix string) {
	for _, s := range c.pending.siblings.list() {
		s.forgetPrefix(prefix)
	}
}

// forgetPrefix removes local state with the prefix. It needs no scan.
func (c *Cache[V]) forgetPrefix(prefix string) {
	under := func(key string) bool { return strings.HasPrefix(key, prefix) }
	c.flights.ForgetFunc(under)
	c.refreshes.ForgetFunc(under)
	if c.near != nil {
		c.near.invalidateFunc(under)
	}
}

// scanCount is the number of keys that the server looks at in one step.
const scanCount = 1000

func (c *Cache[V]) scanPrefix(ctx context.Context, prefix string) error {
	pattern := c.space.Match(prefix)
	return c.core.Scan(ctx, pattern, scanCount, func(found []string) error {
		seen := make(map[string]struct{}, len(found))
		keys := make([]string, 0, len(found))
		for _, serverKey := range found {
			key, suffix, sibling, ok := c.space.Split(serverKey)
			if !ok || sibling && suffix != leaseSuffix {
				continue
			}
			if _, dup := seen[key]; !dup {
				seen[key] = struct{}{}
				keys = append(keys, key)
			}
		}
		for begin := 0; begin < len(keys); begin += chunk {
			if err := errors.Join(c.removeAll(ctx, keys[begin:min(begin+chunk, len(keys))])...); err != nil {
				return err
			}
		}
		c.points.Hold("scanned", prefix)
		return nil
	})
}
