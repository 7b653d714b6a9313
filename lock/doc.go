// Package lock provides distributed locks with fencing tokens, automatic renewal and loss
// detection.
//
// # What
//
// A [Locker] acquires locks by name. A lock is held by at most one process at a time, and it is
// renewed until it is released. If the lock is lost, the context of its holder ends.
//
//   - [Locker.Do], [Locker.Acquire] and [Locker.TryAcquire] acquire a plain lock.
//   - [Locker.Semaphore], [Locker.Reader], [Locker.Writer] and [Locker.All] return a [Resource]:
//     permits of a semaphore, one side of a read-write lock, or several plain locks.
//   - [Locker.Election] elects one leader among processes.
//   - [FencedExec] and [Locker.FencedSet] refuse writes of old holders.
//   - [Locker.Inspect] and [Locker.Break] are for operators.
//
// # Quick start
//
//	locker, err := lock.New(client, lock.Options{})
//	if err != nil {
//		return err
//	}
//	err = locker.Do(ctx, "invoice:42", func(ctx context.Context, held *lock.Lock) error {
//		return send(ctx, invoice, held.Token())
//	})
//
// # Guarantees
//
//   - K1: From the grant of a lock until its context ends, no other process holds the lock.
//   - K2: The token of a lock is greater than the tokens of all earlier holders of that name.
//   - K3: The context of a lock ends before its lease can end on the server.
//   - K4: Only the owner of a lock releases it. If a call has no answer, the Locker releases what
//     the call may have acquired.
//   - K5: After a holder crashes, the next waiter gets the lock within TTL + 1 s.
//   - K6: Waiters get the lock in order of arrival. A release notifies one waiter. A waiter needs
//     no connection and no commands of its own.
//
// # Limits
//
// A lock in Redis is a lease. A lease alone cannot exclude a second writer in these cases:
//
//   - The process pauses for longer than [Options.Margin]. After the pause, it may continue for a
//     moment. [Lock.Err] and the Err of its context return [ErrLost] immediately after the pause.
//     Code that does not call them continues.
//   - A failover loses the last writes, and a lock with them. Two processes can hold the lock until
//     the next renewal of the first (TTL/3) or the end of its lease. A holder that still reaches
//     the old primary keeps its lock for as long as that primary accepts writes (see the Redis
//     setting min-replicas-to-write). [Options.MinReplicas] grants a lock only after replicas have
//     it. It does not cover the promotion of another replica, and renewals are not confirmed by
//     replicas.
//   - FLUSHALL, DEL or eviction removes the lock. Use a server with maxmemory-policy noeviction.
//   - The server's clock steps. A step forward ends leases early. A step back makes them longer.
//
// [Lock.Token] covers all of these cases. Send the token with each write, and let the receiver
// refuse smaller tokens. The package has this comparison for SQL ([FencedExec]) and Redis
// ([Locker.FencedSet]). Without a fencing token, use a lock to save work and not to protect data.
//
// A lock is not reentrant: a holder that acquires it again waits for its own release.
//
// Classes of errors, outages, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
//
// # Cost
//
//   - Acquire and Release of a free lock: one round trip each, and one allocation.
//   - Renewals: every TTL/3, up to 50 locks per script.
//   - Waiting: each process sends about one command per 0.9 s and lock name for all of its waiters.
//     Outside a cluster, one command covers up to 50 names.
//   - Memory: one key per name on the server, for TTL + 10 min after the last use. A queue adds
//     three keys.
//
// # When not to use
//
//   - To keep data consistent in one database, use a transaction, a unique constraint or SELECT …
//     FOR UPDATE there.
//   - To change one value in Redis, use a script or a compare-and-set. It is exact and faster.
//   - To load a value once, use package cache. It has a lease per load.
//   - To run an action at most once, make the action idempotent. No lock can promise this.
//   - To refuse work while too much of it runs, use Concurrency of package ratelimit. It has limits
//     per key and an outage policy, and it sends less. Its permits have no token and no context. A
//     semaphore makes work wait.
//   - If two holders at once cost money or safety, and the receiver cannot compare tokens, use a
//     consensus system.
package lock
