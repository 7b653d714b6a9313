package demo

import (
	"math/bits"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Meter counts requests, and the durations of those that were not refused: a refusal takes less
// time than an answer, and would make the shop look faster than it is. The zero value is ready to
// use. Streams are not counted, because they last as long as the client is connected.
type Meter struct {
	requests, errors atomic.Int64
	took             histogram
}

// Measure counts the requests that next serves.
func (m *Meter) Measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/") || strings.HasSuffix(r.URL.Path, "/stream") {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		watched := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(watched, r)
		if watched.status < http.StatusBadRequest {
			m.took.add(time.Since(start))
		}
		m.requests.Add(1)
		if watched.status >= http.StatusInternalServerError {
			m.errors.Add(1)
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap supports http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// histogram counts durations in buckets from 1 µs to over 1 h. Each power of two has eight buckets.
type histogram [256]atomic.Int64

type counts [len(histogram{})]int64

func (h *histogram) add(d time.Duration) { h[bucket(d)].Add(1) }

func (h *histogram) counts() (c counts) {
	for i := range h {
		c[i] = h[i].Load()
	}
	return c
}

func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1))
	power := bits.Len64(us) - 1
	eighth := us << 3 >> power & 7
	return min(power<<3|int(eighth), len(histogram{})-1)
}

// millis returns the upper bound of a bucket in ms.
func millis(bucket int) float64 {
	power, eighth := bucket>>3, bucket&7
	return float64(uint64(1)<<power) * (1 + float64(eighth+1)/8) / 1000
}

// percentile returns the duration in ms that the share p of the requests since before did not
// exceed, 0 without requests.
func (c counts) percentile(before counts, p float64) float64 {
	var total int64
	for i := range c {
		total += c[i] - before[i]
	}
	rank := int64(p * float64(total))
	for i := range c {
		if rank -= c[i] - before[i]; rank < 0 {
			return millis(i)
		}
	}
	return 0
}
