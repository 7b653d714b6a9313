package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/pgtest"
)

// Two processes on one Redis and one PostgreSQL are one shop.
func TestTwoInstancesAreOneShop(t *testing.T) {
	t.Parallel()
	env := []string{"ADDR=127.0.0.1:0", "REDIS_URL=" + rig.Shared(t).URL(), "REDIS_NAMESPACE=" +
		rig.Prefix(t), "DATABASE_URL=" + pgtest.Postgres(t)}
	here, there := launch(t, append(env, "INSTANCE=here")), launch(t, append(env, "INSTANCE=there"))
	here.serving()
	there.serving()
	if !strings.Contains(here.said, "postgres://") {
		t.Fatalf("the shop does not use PostgreSQL:\n%s", here.said)
	}

	cookie := here.logIn()
	there.want(t, http.StatusOK, "GET", "/api/me", cookie, "")

	// An edit at one instance invalidates the near cache of the other instance.
	rig.Eventually(t, 10*time.Second, "the user is in the other's memory", func() bool {
		return there.want(t, http.StatusOK, "GET", "/api/users/1", cookie, "").Header.Get("X-Cache") == "near"
	})
	here.want(t, http.StatusOK, "PATCH", "/api/users/1", cookie, `{"name":"Augusta"}`)
	rig.Eventually(t, 10*time.Second, "the other shows the edit", func() bool {
		return strings.Contains(text(t, there.want(t, http.StatusOK, "GET", "/api/users/1", cookie, "")), "Augusta")
	})

	// An order at one instance is a notification at the other, and one of them processes it.
	news := there.listen(t, cookie)
	var order struct{ ID int64 }
	if err := json.Unmarshal([]byte(text(t, here.want(t, http.StatusCreated, "POST", "/api/orders", cookie,
		`{"item":"Difference engine","amount_cents":1}`))), &order); err != nil {
		t.Fatal(err)
	}
	news.hears(t, "order_created")
	statuses := make(chan int, 2)
	var both sync.WaitGroup
	for _, shop := range []*process{here, there} {
		both.Go(func() {
			res := shop.ask(t, "POST", fmt.Sprintf("/api/orders/%d/process", order.ID), cookie, "")
			res.Body.Close()
			statuses <- res.StatusCode
		})
	}
	both.Wait()
	if one, other := <-statuses, <-statuses; one+other != http.StatusOK+http.StatusConflict {
		t.Errorf("two concurrent requests to process one order get %d and %d, want 200 and 409", one, other)
	}
	news.hears(t, "order_processed")

	// Login attempts at both instances count together.
	wrong := 0
	for i := range 30 {
		shop := []*process{here, there}[i%2]
		res := shop.ask(t, "POST", "/api/login", "", `{"email":"grace@example.com","password":"a guess"}`)
		res.Body.Close()
		if res.StatusCode == http.StatusTooManyRequests {
			break
		}
		wrong++
	}
	if wrong != 10 {
		t.Errorf("%d guesses at two instances, want the 10 of one account", wrong)
	}

	// A device that is revoked at one instance is logged out at the other, and its stream ends.
	mine := here.logIn()
	here.want(t, http.StatusNoContent, "DELETE", "/api/devices", mine, "")
	there.want(t, http.StatusUnauthorized, "GET", "/api/me", cookie, "")
	news.ends(t)
}

// ask sends a request with a cookie.
func (p *process) ask(t *testing.T, method, path, cookie, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// want sends a request, checks the status and reads the body.
func (p *process) want(t *testing.T, status int, method, path, cookie, body string) *http.Response {
	t.Helper()
	res := p.ask(t, method, path, cookie, body)
	answer := text(t, res)
	if res.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d\n%s", method, path, res.Status, status, answer)
	}
	res.Body = io.NopCloser(strings.NewReader(answer))
	return res
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// stream is a stream of the notifications of a user.
type stream struct{ events chan string }

func (p *process) listen(t *testing.T, cookie string) stream {
	t.Helper()
	res := p.ask(t, "GET", "/api/notifications/stream", cookie, "")
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	s := stream{make(chan string, 100)}
	t.Cleanup(func() { res.Body.Close() })
	go func() {
		defer close(s.events)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				s.events <- name
			}
		}
	}()
	return s
}

func (s stream) hears(t *testing.T, want string) {
	t.Helper()
	for after := time.After(10 * time.Second); ; {
		select {
		case got, ok := <-s.events:
			if got == want {
				return
			}
			if !ok {
				t.Fatalf("the stream ended without %s", want)
			}
		case <-after:
			t.Fatalf("no %s within 10s", want)
		}
	}
}

func (s stream) ends(t *testing.T) {
	t.Helper()
	for after := time.After(10 * time.Second); ; {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-after:
			t.Fatal("the stream did not end")
		}
	}
}
