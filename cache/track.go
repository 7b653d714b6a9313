package cache

// tracker receives pushes of the server, and the changes of other Caches with the same name and
// client.
type tracker[V any] struct{ c *Cache[V] }

// Invalidate removes what this process knows of a changed key. Later calls start new loads. A
// reader goroutine of a connection calls it.
func (t tracker[V]) Invalidate(serverKey string) {
	c := t.c
	key, suffix, sibling, ok := c.space.Split(serverKey)
	if !ok {
		return
	}
	if !sibling {
		c.forget(key)
		return
	}
	switch suffix {
	case leaseSuffix:
		c.waiters.wake(key)
	case tagSuffix, clearSuffix:
		c.generations.drop(ref{suffix, key})
		c.flights.ForgetFunc(nil)
		c.refreshes.ForgetFunc(nil)
	case epochSuffix:
		c.generations.drop(epochRef)
	}
}

// Flush means that pushes may have been lost: a connection was lost, or the server was flushed.
// Everything in memory is suspect until it is read again.
func (t tracker[V]) Flush() {
	c := t.c
	c.generations.suspect(c.core.Clock().Exact())
	c.flights.ForgetFunc(nil)
	c.refreshes.ForgetFunc(nil)
	c.waiters.wakeAll()
}

// forget removes what this Cache knows of a key: later calls ask the server. Callers of running
// loads keep waiting for them.
func (c *Cache[V]) forget(key string) {
	if c.near != nil {
		c.near.invalidate(key)
	}
	c.flights.Forget(key)
	c.refreshes.Forget(key)
	c.waiters.wake(key)
}

// changed is forget for all Caches of this process. It is called after the change on the server,
// and before the call returns.
func (c *Cache[V]) changed(key string) {
	c.forget(key)
	c.backoff.changed(key)
	c.core.Hub().Announce(c.valueKey(key), c.tracker)
}
