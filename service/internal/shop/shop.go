// Package shop has the rules of the shop, and uses the patterns of Redstart.
//
// The rule for cached data: the database has the truth. A write changes the database first and then
// invalidates the caches, also after an error.
package shop

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/session"
)

// Options configure a Shop. The zero value is for a shop behind HTTPS.
type Options struct {
	// InsecureCookies allows the session cookie over plain HTTP, for development.
	InsecureCookies bool
	// Limits replace DefaultLimits.
	Limits *Limits
	// Instance is the name of this process in the orders that it processes. Default: host name and
	// process id.
	Instance string
	// Pack does the work of an order, between the two updates of the database. Default: nothing.
	Pack func(ctx context.Context, order Order) error
	// NearUsers is the number of users in the near cache of this process. Default 10,000.
	NearUsers int
	// Uncached makes every read ask the database, to measure what the caches save.
	Uncached bool
	// Log gets events that could not be handled. Default: no log.
	Log *slog.Logger
}

// Shop is safe for concurrent use.
type Shop struct {
	// Sessions are the sessions of all users. The user of a session is the decimal id.
	Sessions *session.Manager[Visit]
	// Limiters limit the requests of each client.
	Limiters Limiters
	// Requests executes the requests of a user once per Idempotency-Key.
	Requests *idempotency.Executor

	store    *store.Store
	users    *cache.Cache[User]
	spending *cache.Cache[Spending]
	stats    *cache.Memo[struct{}, Stats]
	locks    *lock.Locker
	bus      *events.Durable
	streams  http.Handler
	open     streamCounts
	uncached bool
	instance string
	pack     func(ctx context.Context, order Order) error
	log      *slog.Logger
	hashing  chan struct{} // limits the number of passwords that are hashed at the same time
}

// New returns a shop on this database, with its caches, sessions and limits on this client.
func New(client *redstart.Client, db *store.Store, opts Options) (*Shop, error) {
	s := &Shop{store: db, uncached: opts.Uncached, instance: opts.Instance, pack: opts.Pack, log: opts.Log,
		hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.instance == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("shop: %w", err)
		}
		s.instance = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	var err error
	s.users, err = cache.New[User](client, "users", cache.Options{
		TTL:         5 * time.Minute,
		NegativeTTL: 10 * time.Second, // a client that tries unknown ids causes one query per id
		StaleFor:    time.Minute,      // while one instance reloads, and while the database does not answer
		LoadTimeout: 5 * time.Second,
		// Popular users cost no round trip. Redis pushes each change to every instance, in about 1
		// ms. Until then an instance can serve the old value.
		Near: cache.NearOptions{MaxEntries: cmp.Or(opts.NearUsers, 10_000)},
	})
	if err != nil {
		return nil, err
	}
	s.spending, err = cache.New[Spending](client, "spending", cache.Options{TTL: time.Minute, LoadTimeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	if err = s.memoizeStats(client); err != nil {
		return nil, err
	}
	if s.locks, err = lock.New(client, lock.Options{}); err != nil {
		return nil, err
	}
	if err = s.openBus(client); err != nil {
		return nil, err
	}
	if s.Sessions, err = newSessions(client, opts); err != nil {
		return nil, err
	}
	if s.Limiters, err = newLimiters(client, opts.Limits); err != nil {
		return nil, err
	}
	// Errors are replayed too: after an error of the database, the order may be stored.
	s.Requests, err = idempotency.New(client, "requests", idempotency.Options{Scope: s.user})
	if err != nil {
		return nil, err
	}
	return s, nil
}
