// Package cache caches the values of a slow source, such as a database, on Redis and in memory.
//
// # What
//
// A [Cache] is a named cache of values of one type. [Cache.GetOrLoad] returns a stored value, or
// loads one from the source and stores it. [Cache.Delete] and its relatives invalidate values after
// the source has changed. [Memoize] caches the results of a function by its arguments.
//
// # Quick start
//
//	users, err := cache.New[User](client, "users", cache.Options{TTL: 5 * time.Minute})
//	…
//	user, err := users.GetOrLoad(ctx, id, func(ctx context.Context, id string) (User, error) {
//		return db.User(ctx, id) // runs on a miss, once in all processes
//	})
//	…
//	err = users.Delete(ctx, id) // after every change in the database
//
// Change the source first, then invalidate.
//
// # Guarantees
//
// No stale set (C1). An invalidation is a Delete, Set, Expire, DeletePrefix, InvalidateTags or
// Clear. After it has returned, no call of this process that begins later gets a value whose load
// began before it. After Delete, Set and DeletePrefix, other processes don't get such a value from
// Redis. Their near caches, and after InvalidateTags and Clear the generations in their memory, end
// with the server's push, usually in less than 1 ms. A caller whose load was overtaken gets the
// loaded value, which was valid when the caller asked.
//
// One load (C2). At most one loader per key runs in all processes while its lease lasts. The lease
// lasts for Options.LoadTimeout and 10 % more, at least 0.1 s and at most 1 s more. Other callers
// wait, and the server's push wakes them. A load that fails releases its lease at once. If a
// process dies, its keys wait for the end of their leases.
//
// Near cache (C3). With Near.MaxEntries or Near.MaxBytes, values are kept in the memory of this
// process. A change by any client ends a near-cached entry with the push, at the latest after
// Near.TTL. When a connection is lost, entries become suspect: a call asks the server first, and
// serves a suspect entry only while the server can't be reached.
//
// Outage (C4). GetOrLoad works without Redis: it serves near-cached values, or loads. A value that
// was loaded without Redis stays in the near cache for 2 s and is not stored. The first calls wait
// for one command timeout; the following calls don't wait. An invalidation that fails returns its
// error, and is replayed until the server confirms it.
//
// A schema of another Version is a miss (C5). A lost generation ends its entries and never revives
// older ones (C6). A batch loads its misses together (C7). ErrNotFound is remembered for
// Options.NegativeTTL (C8). A load ends with its last caller, unless a call has [Detach] (C9).
//
// # A failing source
//
// If the refresh of a stale or early entry fails, it is logged and counted (Stats.RefreshErrors).
// This process tries the key again after 0.1 to 0.2 s. Each further failure doubles the wait, up to
// 5 to 10 s. Stats.HeldBack counts the reads that would have started a refresh. A refresh that
// succeeds, ErrNotFound, Set and Delete end the wait. 10,000 keys have a wait of their own; further
// keys share one. A miss has no wait, because its caller has no other value.
//
// # If Delete fails
//
// When Delete fails after the change of the source was committed, log the error and continue. Don't
// undo the change, and don't repeat the call. The invalidation is pending: this process does not
// read the key, and replays the invalidation in the background until the server confirms it.
// Stats.PendingInvalidations counts them. Other processes may read the old entry until then, at the
// latest until its TTL. If that is too long, choose a shorter TTL.
//
// # Limits
//
// Redis replicates asynchronously. A failover, or a restart from an older snapshot, can lose a
// confirmed invalidation. The entry is then valid again until its TTL. If an invalidation and a
// load overlap, the server decides their order.
//
// If a process ends while invalidations are pending, the entries last until their TTL. Above 10,000
// pending invalidations, one Clear replaces them, and ends other entries too. A loader that ignores
// the end of its context can run next to a later load of its key; its value is not stored.
//
// If the server does not push invalidations (Capabilities().Tracking is false), there is no near
// cache, waiters poll, and each hit reads one more key.
//
// A server that evicts may evict the generation of a tag or of the cache. Its entries are then
// misses (C6). Generations in use are read again every 5 s, so that LRU and LFU eviction keep them.
// A full server that evicts nothing serves what it has; each process loads the rest for itself.
//
// Near.MaxEntries bounds the number of entries, so the near cache may need MaxEntries times
// MaxValueBytes of memory. Near.MaxBytes bounds its bytes. Callers that store at the same time can
// exceed the bound by an eighth and by the values that they store. The heap is 1.0 to 1.3 times as
// large as the count.
//
// # Cost
//
//	Get, GetOrLoad   near cache hit    none
//	                 hit               one round trip
//	                 miss              three round trips and the load, two if keys are often missing
//	Set              one round trip
//	Delete           one round trip per node
//	Expire           one round trip per node; the old value is served until its reload
//	InvalidateTags   two round trips, for any number of entries
//	Clear            one round trip, for any number of entries
//	DeletePrefix     two scans of every primary
//
// # When not to use
//
// Use no cache if a stale value after a failover or in another process is not acceptable, for
// example for an account balance. Use package session for sessions, and package lock to protect a
// resource.
//
// Shared rules, such as classes of errors, outages, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
package cache
