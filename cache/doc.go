// Package cache keeps values of a slow source, such as a database, on Redis.
//
//	users, err := cache.New[User](client, "users", cache.Options{TTL: 5 * time.Minute})
//	…
//	user, err := users.GetOrLoad(ctx, id, func(ctx context.Context, id string) (User, error) {
//		return db.User(ctx, id) // runs on a miss, once in all processes
//	})
//	…
//	err = users.Delete(ctx, id) // after every change in the database
//
// The order matters: change the source first, then invalidate.
//
// # Guarantees
//
// C1, no stale set: a value whose load began before Delete or Set returned is never given to a call that
// began after it returned. A load runs under a lease with a token of its own; an invalidation takes the
// lease away, and a load without a lease stores nothing. The caller that was overtaken gets the value
// that it loaded, which was true when it asked.
//
// C2, one load: at most one loader per key runs in all processes while its lease lasts (LoadTimeout).
// Others wait; the server's push wakes them. A load that fails frees its lease at once. A process that
// dies delays the key until the lease lapses.
//
// # Limits
//
// Redis replicates asynchronously: a failover can lose a Delete that was acknowledged, and the entry is
// back until its TTL ends. An invalidation that runs while a load begins is before or after it, as the
// server saw them; what is promised is the order of what happened one after the other.
package cache
