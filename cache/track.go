package cache

// tracker hears of changes on the server.
type tracker[V any] struct{ c *Cache[V] }

// Invalidate is called from a connection's reader. A value that changed ends the flights that
// began before: who comes now starts anew.
func (t tracker[V]) Invalidate(serverKey string) {
	key, suffix, sibling, ok := t.c.space.Split(serverKey)
	switch {
	case !ok:
	case !sibling:
		t.c.flights.Forget(key)
		t.c.waiters.wake(key)
	case suffix == leaseSuffix:
		t.c.waiters.wake(key)
	}
}

// Flush means that pushes may have been lost.
func (t tracker[V]) Flush() {
	t.c.flights.ForgetFunc(nil)
	t.c.waiters.wakeAll()
}
