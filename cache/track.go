package cache

// tracker hears of changes on the server, and of those that another Cache of this name and client makes.
type tracker[V any] struct{ c *Cache[V] }

// Invalidate is called from a connection's reader. It ends what this process knows of what has
// changed, and the in-flight loads that began before: later calls begin others.
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

// Flush means that pushes may have been lost: the connection was lost, or the server was flushed. What this process has in
// memory is suspect until it is read again.
func (t tracker[V]) Flush() {
	c := t.c
	c.generations.suspect(c.core.Clock().Exact())
	c.flights.ForgetFunc(nil)
	c.refreshes.ForgetFunc(nil)
	c.waiters.wakeAll()
}

// forget makes this process forget what it knew of a key: whoever asks from now on asks the server. Flights under
// way keep their callers.
func (c *Cache[V]) forget(key string) {
	if c.near != nil {
		c.near.invalidate(key)
	}
	c.flights.Forget(key)
	c.refreshes.Forget(key)
	c.waiters.wake(key)
}

// changed is forget in all of this process. It comes after the change on the server and before the call
// that made it returns.
func (c *Cache[V]) changed(key string) {
	c.forget(key)
	c.backoff.changed(key)
	c.core.Hub().Announce(c.valueKey(key), c.tracker)
}
