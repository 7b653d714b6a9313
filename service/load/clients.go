package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// client sends requests, one after the other, on a connection of its own. It writes HTTP itself: on
// one machine, the work of an http.Client would take more time than the shop's.
type client struct {
	addr    string // host:port of the shop
	id      int
	cookie  string // as the header has it
	conn    net.Conn
	in      *bufio.Reader
	took    []time.Duration
	failed  int
	sources map[string]int
}

// leastRequests is the minimum number of requests of a client. On a slow machine the time can be
// over before the caches are filled, and then they save nothing.
const leastRequests = 250

const requestTimeout = 10 * time.Second

// run reads mostly popular users, sometimes its own spending and the totals, and rarely changes its
// own name. It ends when timed ends, but not before leastRequests; it also ends with ctx.
func (c *client) run(ctx, timed context.Context) {
	defer c.close()
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

// send sends a request and reads the answer. A failed request ends its connection.
func (c *client) send(ctx context.Context, method, path, body string) {
	began := time.Now()
	status, source, err := c.exchange(context.WithoutCancel(ctx), method, path, body)
	if err != nil {
		c.close()
	}
	if err != nil || status != http.StatusOK {
		c.failed++
		return
	}
	c.took = append(c.took, time.Since(began))
	if source != "" {
		c.sources[source]++
	}
}

func (c *client) exchange(ctx context.Context, method, path, body string) (status int, source string, err error) {
	if c.conn == nil {
		if c.conn, err = new(net.Dialer).DialContext(ctx, "tcp", c.addr); err != nil {
			return 0, "", err
		}
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return 0, "", err
	}
	const request = "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCookie: %s\r\n\r\n%s"
	if _, err := fmt.Fprintf(c.conn, request, method, path, c.addr, len(body), c.cookie, body); err != nil {
		return 0, "", err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, "", err
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, "", err
	}
	return answer.StatusCode, answer.Header.Get("X-Cache"), answer.Body.Close()
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
