package cache

// Waiting is how many callers wait for a flight of key.
func (c *Cache[V]) Waiting(key string) int { return c.flights.Waiters(key) }

// OnFilled has fn called by each load once the server has answered what it stored, before its callers are given the value.
func (c *Cache[V]) OnFilled(fn func()) { c.filled = fn }
