package ratelimit

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Transport limits outgoing requests. Each request waits for a token of its key ([Limiter.Wait])
// and is then sent by next (nil: http.DefaultTransport). A nil key is the host of the request's
// URL.
//
// If the peer answers 429 or 503 with Retry-After, in seconds or as a date, the key pauses in this
// process for that time, at most an hour. The answer is returned and the request is not repeated.
// While a key pauses, RoundTrip waits. If the request's context ends before the pause, RoundTrip
// returns a [*WaitError] immediately. At most 4,096 keys pause at once: Retry-After of further keys
// is ignored.
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
	paused map[string]time.Time // end of the pause, by the local clock
}

// RoundTrip waits for a token, and sends the request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	key, err := t.admit(r)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // no part of it was read
		}
		return nil, err
	}

	answer, err := t.next.RoundTrip(r)
	if err == nil && (answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable) {
		t.pause(key, retryAfter(answer.Header.Get("Retry-After"), t.limiter.core.Time().Now()))
	}

	return answer, err
}

func (t *transport) admit(r *http.Request) (key string, err error) {
	if key, err = t.key(r); err != nil {
		return "", err
	}

	for { // a pause can start while the request waits
		if err := t.waitForPause(r.Context(), key); err != nil {
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

// waitForPause waits until a key does not pause.
func (t *transport) waitForPause(ctx context.Context, key string) error {
	for {
		until := t.until(key)
		if until.IsZero() {
			return nil
		}
		after := t.limiter.core.Time().Until(until)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
			return &WaitError{reason: ErrDeadline, Rule: "Retry-After of the peer", RetryAfter: after}
		}
		timer := t.limiter.core.Time().NewTimer(after)
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

// until returns the end of a key's pause, or zero.
func (t *transport) until(key string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, known := t.paused[key]
	if known && !t.limiter.core.Time().Now().Before(until) {
		delete(t.paused, key)
		return time.Time{}
	}
	return until
}

// pause starts or extends a pause. It never shortens one.
func (t *transport) pause(key string, after time.Duration) {
	if after <= 0 {
		return
	}

	now := t.limiter.core.Time().Now()
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

// retryAfter parses the field: seconds, or a date (RFC 9110, 10.2.3). It returns 0 for other
// values.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(n, uint64(maxPause/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return date.Sub(now)
	}
	return 0
}
