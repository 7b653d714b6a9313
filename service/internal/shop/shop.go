// Package shop is what the shop does, and where it uses Redstart's patterns.
//
// The rule for cached data: the database is the truth; a write goes to the database first and then makes every
// cache forget, whatever happened in between.
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
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/session"
)

// Options of a Shop. The zero value is for a shop that is reached over HTTPS.
type Options struct {
	// InsecureCookies lets the session's cookie travel over plain HTTP: for development.
	InsecureCookies bool
	// Limits replace DefaultLimits.
	Limits *Limits
	// Instance says in orders which process processed them; default the host's name and the process' id.
	Instance string
	// Pack does the work that an order takes, between the two updates of the database; default nothing.
	Pack func(ctx context.Context, order Order) error
	// NearUsers is the number of users that this process keeps in memory; default 10,000.
	NearUsers int
	// Uncached has every read ask the database: to measure what the caches save.
	Uncached bool
	// Log is told of events that could not be handled; default nowhere.
	Log *slog.Logger
}

// Shop is safe for concurrent use.
type Shop struct {
	// Sessions are who is logged in where. A session's user is the decimal id.
	Sessions *session.Manager[Visit]
	// Limiters bound what one client may ask for.
	Limiters Limiters

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
	hashing  chan struct{} // one place per password that is hashed at the same time
}

// New returns a shop on this database whose caches, sessions and limits live on this client.
func New(client *redstart.Client, db *store.Store, opts Options) (*Shop, error) {
	s := &Shop{store: db, uncached: opts.Uncached, instance: opts.Instance, pack: opts.Pack, log: opts.Log, hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
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
		NegativeTTL: 10 * time.Second, // who tries out ids costs one query per id, not one per try
		StaleFor:    time.Minute,      // while one instance loads anew, and when the database does not answer
		LoadTimeout: 5 * time.Second,
		// The users that everybody asks for cost no round trip. Redis tells every instance of a change at any other, in about a
		// millisecond; until then the others may answer with what was.
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
	return s, nil
}
