package redstartgolimiter_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/httplimit"
	"github.com/sethvargo/go-limiter/memorystore"

	"github.com/redstart-go/redstart"
	redstartgolimiter "github.com/redstart-go/redstart/adapters/golimiter"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
)

func TestMain(m *testing.M) { rig.Main(m) }

// open returns a Store with the given rules.
func open(t testing.TB, url string, opts ratelimit.Options, changes ...func(*redstart.Config)) *redstartgolimiter.Store {
	t.Helper()
	l, err := ratelimit.New(rigclient.Open(t, url, "app", changes...), "api", opts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := redstartgolimiter.New(l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rules(all ...ratelimit.Rule) ratelimit.Options { return ratelimit.Options{Rules: all} }

// want is what a store shall answer for a key.
func want(t *testing.T, s limiter.Store, key string, tokens, remaining uint64) {
	t.Helper()
	gotTokens, gotRemaining, err := s.Get(t.Context(), key)
	if err != nil || gotTokens != tokens || gotRemaining != remaining {
		t.Errorf("%s: %d of %d tokens, %v; want %d of %d", key, gotRemaining, gotTokens, err, remaining, tokens)
	}
}

// Two stores share their counts. The store in memory of go-limiter gives the same answers.
func TestTakeAnswersAsTheStoreInMemory(t *testing.T) {
	t.Parallel()
	url := rig.Embedded(t).URL()
	ours := []limiter.Store{open(t, url, rules(ratelimit.PerHour(3))), open(t, url, rules(ratelimit.PerHour(3)))}
	control, err := memorystore.New(&memorystore.Config{Tokens: 3, Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close(t.Context()) }()
	began := time.Now()
	for i := range 5 {
		before := time.Now()
		tokens, remaining, reset, ok, err := ours[i%2].Take(t.Context(), "ada")
		wantTokens, wantRemaining, _, wantOK, wantErr := control.Take(t.Context(), "ada")
		if tokens != wantTokens || remaining != wantRemaining || ok != wantOK || err != nil || wantErr != nil {
			t.Errorf("take %d: %d, %d, %v, %v; the control: %d, %d, %v, %v", i, tokens, remaining, ok, err,
				wantTokens, wantRemaining, wantOK, wantErr)
		}
		in := time.Unix(0, int64(reset)).Sub(before)
		if in < 20*time.Minute-time.Since(began) || in > 20*time.Minute+time.Since(before) {
			t.Errorf("take %d: the reset is in %v, want 20 min: a third of the window", i, in)
		}
	}
	want(t, ours[0], "ada", 3, 0)
	want(t, ours[0], "bob", 3, 3)
}

// A limit of 0 is never admitted, and a key without a limit always is.
func TestTakeWithoutABound(t *testing.T) {
	t.Parallel()
	s := open(t, rig.Embedded(t).URL(), rules(ratelimit.PerHour(0)))
	if tokens, _, reset, ok, err := s.Take(t.Context(), "a"); tokens != 0 || ok || reset != math.MaxInt64 || err != nil {
		t.Errorf("a limit of 0: %d, %d, %v, %v", tokens, reset, ok, err)
	}
	s = open(t, rig.Embedded(t).URL(), rules(ratelimit.Rule{Limit: ratelimit.Unlimited}))
	tokens, remaining, _, ok, err := s.Take(t.Context(), "a")
	if tokens != math.MaxInt64 || remaining != math.MaxInt64 || !ok || err != nil {
		t.Errorf("without a limit: %d, %d, %v, %v", tokens, remaining, ok, err)
	}
	if err := s.Burst(t.Context(), "a", 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a burst without a limit: %v", err)
	}
}

// Set replaces the limit of one key and makes all tokens available, also with the limit that the
// key has.
func TestSet(t *testing.T) {
	t.Parallel()
	s := open(t, rig.Embedded(t).URL(), rules(ratelimit.PerHour(1)))
	for range 2 {
		if err := s.Set(t.Context(), "ada", 5, time.Hour); err != nil {
			t.Fatal(err)
		}
		want(t, s, "ada", 5, 5)
		if _, remaining, _, ok, err := s.Take(t.Context(), "ada"); remaining != 4 || !ok || err != nil {
			t.Errorf("%d, %v, %v", remaining, ok, err)
		}
	}
	want(t, s, "bob", 1, 1)
	for _, tokens := range []uint64{math.MaxUint64, math.MaxInt64} {
		if err := s.Set(t.Context(), "ada", tokens, time.Hour); err == nil {
			t.Errorf("a limit of %d was accepted", tokens)
		}
	}
	want(t, s, "ada", 5, 4)
}

// Burst makes taken tokens available. It returns an error and changes nothing if it would exceed
// the limit.
func TestBurst(t *testing.T) {
	t.Parallel()
	s := open(t, rig.Embedded(t).URL(), rules(ratelimit.PerHour(5)))
	for range 3 {
		if _, _, _, ok, err := s.Take(t.Context(), "ada"); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if err := s.Burst(t.Context(), "ada", 2); err != nil {
		t.Error(err)
	}
	want(t, s, "ada", 5, 4)
	if err := s.Burst(t.Context(), "ada", 0); err != nil { // as the store in memory
		t.Errorf("a burst of 0: %v", err)
	}
	for _, tokens := range []uint64{2, math.MaxUint64} {
		if err := s.Burst(t.Context(), "ada", tokens); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a burst of %d above the limit: %v", tokens, err)
		}
	}
	want(t, s, "ada", 5, 4)
}

// After Close, each method returns ErrStopped and no values.
func TestClose(t *testing.T) {
	t.Parallel()
	s := open(t, rig.Embedded(t).URL(), rules(ratelimit.PerHour(5)))
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	tokens, remaining, reset, ok, takeErr := s.Take(t.Context(), "a")
	getTokens, getRemaining, getErr := s.Get(t.Context(), "a")
	if tokens|remaining|reset|getTokens|getRemaining != 0 || ok {
		t.Error("a stopped store returned values")
	}
	for name, err := range map[string]error{"Take": takeErr, "Get": getErr,
		"Set": s.Set(t.Context(), "a", 1, time.Hour), "Burst": s.Burst(t.Context(), "a", 1)} {
		if !errors.Is(err, limiter.ErrStopped) {
			t.Errorf("%s: %v, want ErrStopped", name, err)
		}
	}
}

// While Redis is down, FailClosed is an error, which httplimit answers with 500. FailOpen admits.
func TestOutage(t *testing.T) {
	t.Parallel()
	for outage, status := range map[ratelimit.Outage]int{
		ratelimit.FailClosed: http.StatusInternalServerError, ratelimit.FailOpen: http.StatusOK,
	} {
		server := rig.Standalone(t)
		opts := rules(ratelimit.PerHour(1))
		opts.Outage = outage
		s := open(t, server.URL(), opts, rigclient.Within(300*time.Millisecond))
		limits, err := httplimit.NewMiddleware(s, httplimit.IPKeyFunc())
		if err != nil {
			t.Fatal(err)
		}
		server.Kill()
		w := httptest.NewRecorder()
		limits.Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
			ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != status {
			t.Errorf("%v: status %d, want %d", outage, w.Code, status)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	if s, err := redstartgolimiter.New(nil); s != nil || err == nil {
		t.Error("a nil limiter was accepted")
	}
	s := open(t, rig.Embedded(t).URL(), rules(ratelimit.PerHour(1)))
	if _, _, _, ok, err := s.Take(t.Context(), strings.Repeat("k", 1025)); ok || !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("a long key: %v, %v", ok, err)
	}
}
