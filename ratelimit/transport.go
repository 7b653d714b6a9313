package ratelimit

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Transport limits outgoing requests: each one Waits for a token of its key, and then goes to next; nil is http.DefaultTransport. A nil
// key tells requests by the host of their URL.
//
// A 429 or 503 of the peer with Retry-After, in seconds or as a date, pauses the key in this process for that time, at most an hour. The
// answer itself is returned: the request is not repeated. While a key is paused, and for Wait's errors, RoundTrip waits, or returns
// a *WaitError at once if the request's context ends earlier. 4,096 keys are paused at once; of further ones the Retry-After is not kept.
func (l *Limiter) Transport(next http.RoundTripper, key KeyFunc) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if key == nil {
		key = func(r *http.Request) (string, error) { return r.URL.Host, nil }
	}
	return &transport{limiter: l, next: next, key: key, paused: make(map[string]time.Time)}
}

const (
	maxPause  = time.Hour
	maxPauses = 4096
)

type transport struct {
	limiter *Limiter
	next    http.RoundTripper
	key     KeyFunc

	mu     sync.Mutex
	paused map[string]time.Time // until when, on this machine's clock
}

// RoundTrip waits, and sends the request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	key, err := t.admit(r)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // nothing was read from it
		}
		return nil, err
	}
	answer, err := t.next.RoundTrip(r)
	if err == nil && (answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable) {
		t.pause(key, retryAfter(answer.Header.Get("Retry-After"), time.Now()))
	}
	return answer, err
}

func (t *transport) admit(r *http.Request) (key string, err error) {
	if key, err = t.key(r); err != nil {
		return "", err
	}
	for { // a pause can begin while the request waits
		if err := t.rest(r.Context(), key); err != nil {
			return "", err
		}
		if err := t.limiter.Wait(r.Context(), key); err != nil {
			return "", err
		}
		if t.until(key).IsZero() {
			return key, nil
		}
	}
}

// rest waits until a key is not paused.
func (t *transport) rest(ctx context.Context, key string) error {
	for {
		until := t.until(key)
		if until.IsZero() {
			return nil
		}
		after := time.Until(until)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
			return &WaitError{reason: ErrDeadline, Rule: "Retry-After of the peer", RetryAfter: after}
		}
		timer := time.NewTimer(after)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-t.limiter.core.Group().Context().Done():
			timer.Stop()
			return errQueueClosed
		}
	}
}

// until is the end of a key's pause; zero: it is not paused.
func (t *transport) until(key string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, known := t.paused[key]
	if known && !time.Now().Before(until) {
		delete(t.paused, key)
		return time.Time{}
	}
	return until
}

// pause never shortens a pause.
func (t *transport) pause(key string, after time.Duration) {
	if after <= 0 {
		return
	}
	now := time.Now()
	until := now.Add(min(after, maxPause))
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.paused[key]
	if !known && len(t.paused) >= maxPauses {
		for k, end := range t.paused {
			if !now.Before(end) {
				delete(t.paused, k)
			}
		}
		if len(t.paused) >= maxPauses {
			return
		}
	}
	if until.After(before) {
		t.paused[key] = until
	}
}

// retryAfter reads the field: seconds, or a date (RFC 9110, 10.2.3). 0 if it is neither.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(n, uint64(maxPause/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return date.Sub(now)
	}
	return 0
}
