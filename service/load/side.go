package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/service/internal/web"
)

// side is a configuration of the shop.
type side struct {
	name     string
	uncached bool
}

// target is a shop that is measured.
type target struct {
	db      *store.Store
	redis   *redstart.Client
	service *shop.Shop
	server  *http.Server
	base    string
	served  chan error
}

func open(ctx context.Context, s side, cfg redstart.Config, database string) (_ *target, err error) {
	t := &target{served: make(chan error, 1)}
	if t.db, err = store.Open(ctx, database); err != nil {
		return nil, err
	}
	if t.redis, err = redstart.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, t.db.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = t.fill(ctx)
	}
	if err == nil {
		// The limits are active but never reached, because the measurement excludes refused
		// requests.
		much := []ratelimit.Rule{ratelimit.PerSecond(1_000_000)}
		t.service, err = shop.New(t.redis, t.db, shop.Options{InsecureCookies: true, Uncached: s.uncached,
			Limits: &shop.Limits{Free: much, Pro: much, LoginByAddress: much, LoginByPair: much, LoginByAccount: much},
		})
	}
	if err != nil {
		return nil, errors.Join(err, t.redis.Close(), t.db.Close())
	}
	t.base = "http://" + listener.Addr().String()
	handler := web.New(web.Options{Shop: t.service, Ready: t.db.Ping, Log: slog.New(slog.DiscardHandler), Engine: s.name})
	t.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: handler}
	go func() { t.served <- t.server.Serve(listener) }()
	return t, nil
}

// fill adds users and orders to the database.
func (t *target) fill(ctx context.Context) error {
	db := t.db.DB() // one statement with many rows is faster than one statement per row
	if _, err := db.ExecContext(ctx, `INSERT INTO users (email, name, password_hash, created_at)
		SELECT 'user' || n || '@example.com', 'User ' || n, 'none', now() FROM generate_series(1, `+strconv.Itoa(users)+`) n`); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	_, err := db.ExecContext(ctx, `INSERT INTO orders (user_id, item, total_cents, status, created_at)
		SELECT u.id, 'Notebook, squared', 420, 'processed', now() FROM users u, generate_series(1, `+strconv.Itoa(orders)+`)`)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return nil
}

func (t *target) close() error {
	err := t.server.Close()
	if served := <-t.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, t.redis.Close(), t.db.Close())
}

// result is the measurement of one shop.
type result struct {
	requests, failed int
	took             time.Duration
	p50, p99         time.Duration
	reads, writes    int64          // statements sent to the database
	sources          map[string]int // number of cached reads by X-Cache
}

// client sends requests, one after the other.
type client struct {
	http    *http.Client
	base    string
	id      int
	cookie  *http.Cookie
	took    []time.Duration
	failed  int
	sources map[string]int
}

// load sends requests for a time.
func (t *target) load(ctx context.Context, clients int, d time.Duration) (result, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	all := make([]*client, clients)
	for i := range all {
		id := i + 1
		s, err := t.service.Sessions.Create(ctx, strconv.Itoa(id), shop.Visit{})
		if err != nil {
			return result{}, err
		}
		all[i] = &client{http: &http.Client{Transport: transport, Timeout: 10 * time.Second}, base: t.base,
			id: id, cookie: t.service.Sessions.Cookie(s), sources: map[string]int{}}
	}
	reads, writes := t.db.Queries()
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.run(ctx, timed) })
	}
	wg.Wait()
	r := result{took: time.Since(began), sources: map[string]int{}}
	readsNow, writesNow := t.db.Queries()
	r.reads, r.writes = readsNow-reads, writesNow-writes
	var took []time.Duration
	for _, c := range all {
		took = append(took, c.took...)
		r.failed += c.failed
		for source, n := range c.sources {
			r.sources[source] += n
		}
	}
	if len(took) == 0 {
		return r, fmt.Errorf("no request succeeded, %d failed", r.failed)
	}
	slices.Sort(took)
	r.requests, r.p50, r.p99 = len(took), took[len(took)/2], took[len(took)*99/100]
	return r, nil
}

// leastRequests is the minimum number of requests of a client. On a slow machine the time can be
// over before the caches are filled, and then they save nothing.
const leastRequests = 250

// run reads mostly popular users, sometimes its own spending and the totals, and rarely changes its
// own name. It ends when timed ends, but not before leastRequests; it also ends with ctx.
func (c *client) run(ctx, timed context.Context) {
	random := rand.New(rand.NewPCG(uint64(c.id), 1))
	popular := rand.NewZipf(random, 1.1, 10, users-1)
	for n := 0; ctx.Err() == nil && (timed.Err() == nil || n < leastRequests); n++ {
		id := popular.Uint64() + 1
		switch dice := random.IntN(1000); {
		case dice < 900:
			c.send(ctx, http.MethodGet, fmt.Sprintf("/api/users/%d", id), "")
		case dice < 980:
			c.send(ctx, http.MethodGet, fmt.Sprintf("/api/users/%d/spending", c.id), "")
		case dice < 990:
			c.send(ctx, http.MethodGet, "/api/stats", "")
		default:
			c.send(ctx, http.MethodPatch, fmt.Sprintf("/api/users/%d", c.id), fmt.Sprintf(`{"name":"User %d, %d"}`, c.id, n))
		}
	}
}

func (c *client) send(ctx context.Context, method, path, body string) {
	r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.failed++
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.AddCookie(c.cookie)
	began := time.Now()
	answer, err := c.http.Do(r)
	if err != nil {
		c.failed++
		return
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		c.failed++
		return
	}
	c.took = append(c.took, time.Since(began))
	if source := answer.Header.Get("X-Cache"); source != "" {
		c.sources[source]++
	}
}
