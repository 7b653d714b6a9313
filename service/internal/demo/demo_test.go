package demo_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/service/internal/demo"
)

func TestMain(m *testing.M) { rig.Main(m) }

func TestOutageStallsAndResumes(t *testing.T) {
	t.Parallel()
	s := rig.Shared(t)
	o, err := demo.NewOutage(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", o.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := make(chan string, 8)
	go func() {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			answers <- lines.Text()
		}
		close(answers)
	}()
	ping := func() {
		t.Helper()
		if _, err := conn.Write([]byte("PING\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	ping()
	if got := <-answers; got != "+PONG" {
		t.Fatalf("the reply to PING is %q", got)
	}
	o.Stop()
	o.Stop() // a second Stop changes nothing
	ping()
	select {
	case got := <-answers:
		t.Fatalf("during the outage the reply to PING is %q", got)
	case <-time.After(100 * time.Millisecond): // no event marks the absence of a reply
	}
	o.Resume()
	if got := <-answers; got != "+PONG" {
		t.Fatalf("after the outage the reply to PING is %q", got)
	}
	o.Stop()
	if err := o.Close(); err != nil { // also during an outage
		t.Fatal(err)
	}
	for range answers {
		t.Error("a reply after Close")
	}
}

func TestTrafficIsBoundedAndStops(t *testing.T) {
	t.Parallel()
	var requests, orders, cookies atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if c, err := r.Cookie("session"); err == nil && c.Value == "secret" {
			cookies.Add(1)
		}
		if r.Method == http.MethodPost {
			orders.Add(1)
			fmt.Fprint(w, `{"id": 7}`)
		}
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	traffic := demo.NewTraffic(base, 10)
	defer traffic.Close()
	traffic.Start(10_000, time.Minute, []*http.Cookie{{Name: "session", Value: "secret"}})
	if n, _ := traffic.Users(); n != demo.MaxUsers {
		t.Errorf("%d virtual users", n)
	}
	rig.Eventually(t, 10*time.Second, "orders are placed and processed", func() bool { return orders.Load() >= 2 })
	traffic.Stop()
	if n, _ := traffic.Users(); n != 0 {
		t.Error("there are virtual users after Stop")
	}
	if requests.Load() != cookies.Load() {
		t.Errorf("%d requests, %d with the cookie", requests.Load(), cookies.Load())
	}
	traffic.Start(2, time.Millisecond, nil) // ends after 1 ms
	rig.Eventually(t, 10*time.Second, "the traffic ends", func() bool { n, _ := traffic.Users(); return n == 0 })
}

func TestConcurrentStartsAreOneTraffic(t *testing.T) {
	t.Parallel()
	var last, others atomic.Int64
	var final atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch c, err := r.Cookie("session"); {
		case err != nil || !final.Load():
		case c.Value == "last":
			last.Add(1)
		default:
			others.Add(1)
		}
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	traffic := demo.NewTraffic(base, 10)
	defer traffic.Close()
	var pressed sync.WaitGroup
	for range 8 {
		pressed.Go(func() { traffic.Start(10, time.Minute, []*http.Cookie{{Name: "session", Value: "early"}}) })
	}
	pressed.Wait()
	if n, _ := traffic.Users(); n != 10 {
		t.Errorf("%d virtual users, want those of one Start", n)
	}
	traffic.Start(5, time.Minute, []*http.Cookie{{Name: "session", Value: "last"}})
	final.Store(true)
	rig.Eventually(t, time.Minute, "the last traffic runs", func() bool { return last.Load() >= 50 })
	if n := others.Load(); n > 10 { // one request per user may have been in flight
		t.Errorf("%d requests of replaced traffic", n)
	}
	traffic.Close()
	traffic.Start(5, time.Minute, nil)
	if n, _ := traffic.Users(); n != 0 {
		t.Errorf("%d virtual users after Close", n)
	}
}

func TestTrafficStopsWithoutViewers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := rigclient.Open(t, rig.Shared(t).URL(), rig.Prefix(t))
	d, err := demo.New(demo.Options{Client: client, Base: base, Users: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	samples, left := make(chan demo.Sample, 64), make(chan error, 1)
	go func() { left <- d.Watch(ctx, func(s demo.Sample) error { samples <- s; return nil }) }()
	<-samples // there is a viewer
	d.Traffic.Start(3, time.Minute, nil)
	for s := range samples {
		if s.TrafficUsers == 3 && s.TrafficSeconds > 0 {
			break
		}
	}
	leave()
	if err := <-left; err != nil {
		t.Error(err)
	}
	rig.Eventually(t, 30*time.Second, "the traffic stops", func() bool { n, _ := d.Traffic.Users(); return n == 0 })
}

// A request that memory refuses is counted as refused. In an outage, requests of the API pass
// without a limit, and attempts to log in are refused.
func TestLiveCountsAllRefusedRequests(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	metrics := func(yield func(observe.Metric) bool) {
		for _, m := range []struct {
			limiter, outcome string
			factor           int64
		}{
			{"api", "allowed", 1}, {"api", "leased", 2}, {"api", "refused", 3}, {"api", "refused_locally", 10},
			{"api", "degraded", 100}, {"login-pair", "failed", 1000},
		} {
			if !yield(observe.Metric{Name: "redstart.ratelimit.requests", Value: float64(n.Load() * m.factor),
				Labels: []observe.Label{{Name: "limiter", Value: m.limiter}, {Name: "outcome", Value: m.outcome}}}) {
				return
			}
		}
	}
	live := demo.NewLive(metrics, &demo.Meter{}, func() demo.State { return demo.State{} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	samples, ended := make(chan demo.Sample, 8), make(chan error, 1)
	go func() { ended <- live.Watch(ctx, func(s demo.Sample) error { samples <- s; return nil }) }()
	<-samples // the first interval has started
	n.Add(1)
	s := <-samples
	if s.LimitAllowed != 3 || s.LimitRefused != 1013 || s.LimitLocally != 10 || s.LimitDegraded != 100 {
		t.Errorf("allowed %g, refused %g, from memory %g, without a limit %g; want 3, 1013, 10 and 100",
			s.LimitAllowed, s.LimitRefused, s.LimitLocally, s.LimitDegraded)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A refusal takes less time than an answer. It is counted as a request, and its duration is not.
func TestLatencyHasAnswersOnly(t *testing.T) {
	t.Parallel()
	meter := &demo.Meter{}
	served := meter.Measure(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	live := demo.NewLive(func(func(observe.Metric) bool) {}, meter, func() demo.State { return demo.State{} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	samples, ended := make(chan demo.Sample, 8), make(chan error, 1)
	go func() { ended <- live.Watch(ctx, func(s demo.Sample) error { samples <- s; return nil }) }()
	<-samples
	served.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/users/1", nil))
	if s := <-samples; s.RPS == 0 || s.P50 != 0 {
		t.Errorf("%g requests per second with a median of %g ms, want a request without a duration", s.RPS, s.P50)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLiveReportsOneSecond(t *testing.T) {
	t.Parallel()
	var hits, loads atomic.Int64
	metrics := func(yield func(observe.Metric) bool) {
		_ = yield(observe.Metric{Name: "redstart.cache.requests",
			Labels: []observe.Label{{Name: "cache", Value: "users"}, {Name: "result", Value: "hit"}},
			Value:  float64(hits.Load())}) &&
			yield(observe.Metric{Name: "redstart.cache.loads", Value: float64(loads.Load())})
	}
	meter := &demo.Meter{}
	served := meter.Measure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	live := demo.NewLive(metrics, meter, func() demo.State { return demo.State{TrafficUsers: 3, RedisStopped: true} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	samples := make(chan demo.Sample, 8)
	ended := make(chan error, 1)
	go func() { ended <- live.Watch(ctx, func(s demo.Sample) error { samples <- s; return nil }) }()
	<-samples // the first interval has started
	hits.Add(10)
	loads.Add(1)
	for _, path := range []string{"/api/users/1", "/api/broken", "/assets/shop.css"} {
		served.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	s := <-samples
	if s.RedisHits != 10 || s.Loads != 1 || s.LoadsAvoided != 9 || s.Errors != 1 || s.RPS < 1 || s.P99 <= 0 ||
		s.TrafficUsers != 3 || !s.RedisStopped {
		t.Errorf("the sample is %+v", s)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
