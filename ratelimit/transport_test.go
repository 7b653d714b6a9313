package ratelimit_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
)

// closedBody records Close.
type closedBody struct {
	io.Reader
	closed atomic.Bool
}

func (b *closedBody) Close() error { b.closed.Store(true); return nil }

// Outgoing requests wait for their tokens, and for the pause that the peer requests.
func TestTransport(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var at []time.Time
	var refuse atomic.Bool
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		if refuse.CompareAndSwap(true, false) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer peer.Close()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "out", Limit: 20,
		Window: time.Second, Burst: 1}}, Outage: ratelimit.FailClosed})
	client := &http.Client{Transport: l.Transport(peer.Client().Transport, nil)}
	get := func(ctx context.Context) (int, error) {
		r, err := http.NewRequestWithContext(ctx, "GET", peer.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}

	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if code, err := get(t.Context()); code != 200 || err != nil {
				t.Error(code, err)
			}
		})
	}
	wg.Wait()
	if took := at[len(at)-1].Sub(at[0]); took < 5*50*time.Millisecond-20*time.Millisecond {
		t.Errorf("six requests at 20 per second within %v", took)
	}

	refuse.Store(true)
	if code, err := get(t.Context()); code != 429 || err != nil {
		t.Errorf("the peer's refusal: %d, %v", code, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	body := &closedBody{Reader: strings.NewReader("body")}
	r, err := http.NewRequestWithContext(short, "POST", peer.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var wait *ratelimit.WaitError
	if _, err := client.Do(r); !errors.As(err, &wait) || !errors.Is(err, ratelimit.ErrDeadline) ||
		wait.RetryAfter <= 0 || wait.RetryAfter > time.Second || !body.closed.Load() {
		t.Errorf("while the peer's Retry-After runs, with too little time: %v after %v, body closed: %v", err,
			time.Since(began), body.closed.Load())
	}
	if code, err := get(t.Context()); code != 200 || err != nil {
		t.Errorf("after Retry-After: %d, %v", code, err)
	}
	if gap := at[len(at)-1].Sub(at[len(at)-2]); gap < 990*time.Millisecond {
		t.Errorf("the peer asked for 1 s, the next request came after %v", gap)
	}
}

// The values that a peer may write into Retry-After.
func TestTransportReadsRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0, " 7": 0,
		"99999999999999": time.Hour, "99999999999999999999999": 0,
		"Sun, 01 Mar 2026 12:00:30 GMT": 30 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": -time.Hour,
	} {
		if got := ratelimit.RetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
