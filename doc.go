// Package redstart connects a service to Redis or Valkey. Its sub-packages are six patterns that
// services build on such a server. Each pattern states what it guarantees, where the guarantee ends
// and what it costs.
//
// # Open a client
//
// A program opens one [Client] per server and passes it to the patterns:
//
//	cfg, err := redstart.ConfigFromEnv() // REDIS_URL and others; see Config
//	…
//	client, err := redstart.Open(ctx, cfg)
//	…
//	defer client.Close()
//
// Package embedded runs a small server inside the process, for first runs, examples and tests.
//
// # The patterns
//
// Package [github.com/redstart-go/redstart/cache] keeps values of a slow source. One load per key
// runs in all processes, and a value from before an invalidation is never stored after it:
//
//	users, err := cache.New[User](client, "users", cache.Options{TTL: 5 * time.Minute})
//	user, err := users.GetOrLoad(ctx, id, loadUser)
//	err = users.Delete(ctx, id) // after the change in the database
//
// Package [github.com/redstart-go/redstart/lock] lets one process at a time do something. A holder
// learns of a loss before another process can hold the lock, and a token fences late writes:
//
//	locker, err := lock.New(client, lock.Options{})
//	err = locker.Do(ctx, "invoice:42", func(ctx context.Context, held *lock.Lock) error { … })
//
// Package [github.com/redstart-go/redstart/events] carries typed events between processes: live, at
// most once; or durable, at least once and in order per channel. It includes Server-Sent Events and
// a transactional outbox:
//
//	bus, err := events.NewDurable(client, "orders", events.DurableOptions{})
//	err = orderPaid.Publish(ctx, bus, "orders:42", order)
//
// Package [github.com/redstart-go/redstart/session] keeps who is logged in. A revoked session ends
// in all processes at once:
//
//	sessions, err := session.New[Account](client, "web", session.Options{})
//	handler := sessions.Middleware(mux)
//
// Package [github.com/redstart-go/redstart/ratelimit] limits how often something happens over all
// processes, by the clock of the server:
//
//	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: rules})
//	result, err := limiter.Allow(ctx, user)
//
// Package [github.com/redstart-go/redstart/idempotency] executes an HTTP request once per
// Idempotency-Key, and replays its result:
//
//	executor, err := idempotency.New(client, "orders", idempotency.Options{Scope: userOf})
//	handler := executor.Middleware(createOrder)
//
// # Errors
//
// Each error that comes from the server or the connection has one of six classes, which errors.Is
// finds: [ErrUnavailable], [ErrIndeterminate], [ErrDenied], [ErrFull], [ErrCorrupt] and
// [ErrTooLarge] (A2). Answers of a pattern, such as lock.ErrNotAcquired, are other errors: "no" and
// "the server failed" are different results. [ErrIndeterminate] says that a write was sent and its
// reply was lost. Redstart never sends such a write a second time (A3).
//
// # Outages
//
// A call ends with its context. Each command of a call ends after [Config.CommandTimeout], 500 ms
// by default (A1). After failures in a row the circuit breaker of the node opens: calls fail at
// once, without a wait, while one probe asks the node. Each pattern states what it does in the
// meantime: a cache serves from memory or from the source, a lock is never granted, a session is
// neither lost nor invented. Clients recover without a restart.
//
// # Watch it
//
// [Client.Metrics] yields counters and gauges, [Config.Observer] receives the operations, and
// [Config.Logger] receives what an operator should know. [Client.Warnings] lists settings of the
// server that weaken a guarantee.
//
// # Shared rules
//
// All packages have the same rules for names, sizes, deadlines, clocks, Close and the constants
// that switch something off: https://github.com/redstart-go/redstart/blob/main/docs/conventions.md.
// The guarantees and their tests:
// https://github.com/redstart-go/redstart/blob/main/docs/guarantees.md.
package redstart
