package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Bounds of the traffic. It is for the charts. To find the limits of a machine, use make load.
const (
	MaxUsers   = 200
	MaxSeconds = 120

	think = 100 * time.Millisecond // mean delay between two requests of a virtual user
)

// Traffic sends real requests of virtual users to this instance. Create it with NewTraffic.
type Traffic struct {
	base   *url.URL
	read   int // the number of users whose pages are read
	client *http.Client

	changing sync.Mutex // held while new traffic replaces old traffic, so that two never run at the same time

	mu     sync.Mutex
	users  int
	until  time.Time
	stop   context.CancelFunc
	done   chan struct{}
	closed bool
}

// NewTraffic sends requests to a base URL, which must be on this machine, and reads the users 1 to
// users.
func NewTraffic(base *url.URL, users int) *Traffic {
	return &Traffic{base: base, read: users, client: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: MaxUsers, MaxConnsPerHost: MaxUsers},
	}}
}

// Start replaces the running traffic. With zero users it only stops it. Each virtual user sends one
// of the cookies, in turn; without cookies they are visitors. The traffic ends after d.
func (t *Traffic) Start(users int, d time.Duration, cookies []*http.Cookie) {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	if users == 0 || t.closed {
		return
	}
	t.users, t.until, t.done = min(users, MaxUsers), time.Now().Add(min(d, MaxSeconds*time.Second)), make(chan struct{})
	var ctx context.Context
	ctx, t.stop = context.WithDeadline(context.Background(), t.until)
	go t.run(ctx, t.users, cookies, t.done)
}

// Stop ends the traffic and waits for its last request.
func (t *Traffic) Stop() {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.end()
}

func (t *Traffic) end() {
	t.mu.Lock()
	stop, done := t.stop, t.done
	t.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
}

// Users returns the number of virtual users and the time until they stop.
func (t *Traffic) Users() (int, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users == 0 {
		return 0, 0
	}
	return t.users, time.Until(t.until)
}

// Close stops the traffic and closes its connections. Start does nothing afterwards.
func (t *Traffic) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.Stop()
	t.client.CloseIdleConnections()
}

func (t *Traffic) run(ctx context.Context, users int, cookies []*http.Cookie, done chan struct{}) {
	defer close(done) // last, so that a waiter finds no users
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() { t.live(ctx, cookieOf(i, cookies)) })
	}
	wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop() // releases the timer of the deadline
	t.users, t.stop, t.done = 0, nil, nil
}

// cookieOf returns the cookie of a virtual user, nil for a visitor.
func cookieOf(user int, cookies []*http.Cookie) *http.Cookie {
	if len(cookies) == 0 {
		return nil
	}
	return cookies[user%len(cookies)]
}

// live is one virtual user. It mostly reads users, prefers popular ones, and sometimes orders.
func (t *Traffic) live(ctx context.Context, cookie *http.Cookie) {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), 1.1, 100, uint64(t.read-1))
	for ctx.Err() == nil {
		switch dice := rand.IntN(100); {
		case dice < 80:
			t.send(ctx, cookie, http.MethodGet, fmt.Sprintf("/api/users/%d", zipf.Uint64()+1), nil)
		case dice < 98 || cookie == nil:
			t.send(ctx, cookie, http.MethodGet, "/api/stats", nil)
		default:
			t.order(ctx, cookie)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(2 * think)):
		}
	}
}

// order creates an order and processes it twice at the same time. One request waits for the lock of
// the other, and then finds the order processed.
func (t *Traffic) order(ctx context.Context, cookie *http.Cookie) {
	body := t.send(ctx, cookie, http.MethodPost, "/api/orders", map[string]any{"item": "Notebook, squared", "amount_cents": 420})
	var order struct {
		ID int64 `json:"id"`
	}
	if json.Unmarshal(body, &order) == nil && order.ID > 0 {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { t.send(ctx, cookie, http.MethodPost, fmt.Sprintf("/api/orders/%d/process", order.ID), nil) })
		}
		both.Wait()
	}
}

// send returns the body of a successful response, else nil. The charts show failed requests.
func (t *Traffic) send(ctx context.Context, cookie *http.Cookie, method, path string, in any) []byte {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, t.base.JoinPath(path).String(), body)
	if err != nil {
		return nil
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if cookie != nil {
		r.AddCookie(cookie)
	}
	response, err := t.client.Do(r)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || response.StatusCode >= http.StatusBadRequest {
		return nil
	}
	return data
}
