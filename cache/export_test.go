package cache

// Waiting is how many callers wait for a flight of key.
func (c *Cache[V]) Waiting(key string) int { return c.flights.Waiters(key) }
