// Package cache keeps values of a slow source, such as a database, on Redis and in this process' memory.
//
//	users, err := cache.New[User](client, "users", cache.Options{TTL: 5 * time.Minute})
//	…
//	user, err := users.GetOrLoad(ctx, id, func(ctx context.Context, id string) (User, error) {
//		return db.User(ctx, id) // runs on a miss, once in all processes
//	})
//	…
//	err = users.Delete(ctx, id) // after every change in the database
//
// The order matters: change the source first, then invalidate. [Memoize] makes a function its cached self, keyed by its
// arguments.
//
// # Guarantees
//
// C1, no stale set: a value whose load began before an invalidation (Delete, Set, DeletePrefix,
// InvalidateTags, Clear) returned is never given to a call of this process that began after it returned. Other
// processes don't get it from Redis after Delete, Set and DeletePrefix; their near entries and, after
// InvalidateTags and Clear, the generations in their memory last until the push comes, usually
// less than a millisecond. The caller whose load was overtaken gets what it loaded, which was true when it asked.
//
// C2, one load: at most one loader per key runs in all processes while its lease lasts: LoadTimeout and 10 % more, at
// least 0.1 s and at most 1 s. Others wait, and the server's push wakes them. A load that fails releases its lease at once.
// A process that dies delays the key until the lease lapses.
//
// C3, near: with Near.MaxEntries decoded values are kept in this process. A change by any client ends them as
// soon as the push arrives, at the latest after Near.TTL. A lost connection makes them suspect: the server is asked first, and they
// are served only while it can't be reached.
//
// C4, outage: GetOrLoad goes on without Redis: from the near cache, or from the loader, whose value stays near for 2 s, and
// stores nothing. It costs the first calls one command timeout, then nothing. Invalidations that failed
// are an error to their caller, and are repeated until the server has them.
//
// # A source that fails
//
// While an entry is served stale, or early, a refresh of it that fails is logged, counted (Stats.RefreshErrors) and held back: this
// process does not try that key again before 0.1 to 0.2 s have passed, twice as long after each further failure, at most 5 to 10 s
// (Stats.HeldBack counts the reads that would have). A refresh that succeeds, ErrNotFound included, and a Set or Delete of
// the key end that. 10,000 keys are remembered; the others share one wait. Misses are not held back: their callers have nothing else
// to get.
//
// # Invalidation
//
//	Delete           keys                     one round trip per node
//	Expire           keys, served stale until one caller has reloaded them    one round trip per node
//	InvalidateTags   what was stored with a tag    two round trips, however many entries
//	Clear            everything               one round trip
//	DeletePrefix     by a prefix of the key   scans every primary twice
//
// When Delete fails after the change of the source is committed: log the error and go on. Don't undo the change, and don't repeat the
// call. This process doesn't read the key until the invalidation is confirmed, and replays it in the background until then; Stats.Owing is how
// many are pending. Other processes may read the old entry until the replay, at the latest until its TTL. If that is too long, choose a
// shorter TTL: no cache can reach the others while their server is away.
//
// # Limits
//
// Redis replicates asynchronously: a failover can lose an invalidation that was acknowledged, and the entry is
// back until its TTL ends; so is what a server brings back that restarts from an older snapshot. An invalidation that runs while a load begins takes effect before or after
// that, as the server saw them; what is promised is the order of what happened one after the other.
//
// A process that ends while invalidations are pending leaves those entries until their TTL. Past 10,000 pending
// invalidations, one Clear replaces them: entries that no caller invalidated end as well. A loader that ignores the end of its
// context can run next to a later load of its key; its value is not stored. Where the server does not push (Capabilities().Tracking is false),
// there is no near cache, waiters poll, and each hit reads one more key.
//
// A server that evicts may evict the record of a tag, or of the whole cache: what depends on it are misses then (C6). Records in
// use are read every 5 s, so that LRU and LFU keep them. One that is full and evicts nothing serves what it has; what it has not is loaded by each
// process for itself. Near.MaxEntries bounds entries, not bytes: times MaxValueBytes is what they can cost at worst. Near.MaxBytes bounds the
// bytes. Callers that store at once can exceed it by an eighth, and by what they store. The heap has 1.0 to 1.3 times what is counted.
package cache
