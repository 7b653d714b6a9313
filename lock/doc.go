// Package lock is a distributed lock that tells its holder the truth.
//
//	locker, err := lock.New(client, lock.Options{})
//	…
//	err = locker.Do(ctx, "invoice:42", func(ctx context.Context, held *lock.Lock) error {
//		return send(ctx, invoice, held.Token())
//	})
//
// # What it promises
//
// At most one holder at a time, as far as one can know: from the grant until Context ends nobody else holds the lock (K1), and
// Context ends before the lease can lapse on the server (K3), whether the server, the network or this process
// is at fault. The lease is renewed while the lock is held; a holder that crashed delays the next by at most TTL + 1 s
// (K5). Only the owner releases; whatever becomes of a call, no lock is left without a holder (K4). Who waits is served
// first come, first served, woken by the release: no polling, no herd, no connection per waiter (K6).
//
// # Where that ends
//
// A lock in Redis is a lease, and no lease alone makes two writers impossible:
//
//   - A process that is paused for longer than the margin (TTL/5) may go on for a moment in the belief that it holds the
//     lock. Context().Err() tells it at its first question, but nothing stops an instruction that does not ask.
//   - A failover can lose the last acknowledged writes, a lock among them: two holders, until the first one's next
//     renewal (TTL/3) reaches the new primary, or its lease ends; as long as an old primary that is cut off goes on, a
//     holder that is cut off with it does too (min-replicas-to-write ends that). MinReplicas narrows this: a lock is then
//     granted only once replicas have it. What is left is the promotion of a replica that was not among them, and
//     renewals, which are not confirmed. docs/guarantees.md has the numbers of a test.
//   - FLUSHALL, eviction and DEL do the same. Give locks a server with maxmemory-policy noeviction.
//   - A server clock that steps forward ends leases early, one that steps back makes them longer.
//
// What covers all of this is [Lock.Token]: a number greater than every earlier holder's of that name (K2), sent
// along with each write, and compared by whoever stores it. [FencedExec] and [Locker.FencedSet] do that for SQL and
// for Redis. With fencing a lock in Redis is safe; without, it is very good at saving work.
//
// # When not to use a lock
//
//   - To keep numbers right in one database: a transaction, a unique constraint or SELECT … FOR UPDATE does it there,
//     without a second system that can disagree.
//   - To change one value in Redis: a script or a compare-and-set is shorter, faster and exact.
//   - To load something once: package cache does that with a lease per load.
//   - To do something at most once, ever: no lock can. Make it idempotent.
//   - Where two holders at once cost money or safety and the receiver can't compare tokens: use a consensus system, and read
//     its caveats too.
//
// # Beyond the plain lock
//
// [Locker.Semaphore], [Locker.Reader] and [Locker.Writer], [Locker.All] and [Locker.Election] give locks with the same
// guarantees. A lock is not reentrant: a holder that acquires it again waits for its own release. [Locker.Inspect] shows
// who holds a lock and who waits for it; [Locker.Break] ends a hold.
//
// A semaphore makes work wait its turn. To refuse work when too much runs at the same time, use Concurrency of package
// ratelimit: it sends less, has an outage policy, and its permits have no token and no context.
package lock
