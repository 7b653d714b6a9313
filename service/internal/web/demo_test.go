package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/service/internal/web"
)

func TestWithoutADemoItsAddressesDoNotExist(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	wantStatus(t, in.get("/demo/live"), http.StatusNotFound)
	page := in.get("/")
	if strings.Contains(page.body, "live.js") || strings.Contains(page.body, "Stop Redis") {
		t.Errorf("the page offers a demo:\n%s", page.body)
	}
}

// startDemo starts a shop with a demo whose Redis can be stopped. ending shuts it down.
func startDemo(t *testing.T) (in *instance, ending context.CancelFunc) {
	t.Helper()
	return startDemoOn(t, newDatabase(t), unlimited())
}

func startDemoOn(t *testing.T, database string, limits *shop.Limits) (in *instance, ending context.CancelFunc) {
	t.Helper()
	outage, err := demo.NewOutage(t.Context(), "tcp", rig.Shared(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(errors.Join(err, outage.Close()))
	}
	config := redstart.Config{URL: "redis://" + outage.Addr(), Namespace: rig.Prefix(t), CommandTimeout: time.Second}
	client, err := redstart.Open(t.Context(), config)
	if err != nil {
		t.Fatal(errors.Join(err, outage.Close(), db.Close()))
	}
	cut, err := demo.NewOutage(t.Context(), "tcp", outage.Addr())
	if err != nil {
		t.Fatal(errors.Join(err, client.Close(), outage.Close(), db.Close()))
	}
	config.URL = "redis://" + cut.Addr()
	second, err := redstart.Open(t.Context(), config)
	if err != nil {
		t.Fatal(errors.Join(err, cut.Close(), client.Close(), outage.Close(), db.Close()))
	}
	service, err := shop.New(client, db, shop.Options{InsecureCookies: true, Limits: limits})
	if err != nil {
		t.Fatal(errors.Join(err, second.Close(), cut.Close(), client.Close(), outage.Close(), db.Close()))
	}
	server := httptest.NewUnstartedServer(nil)
	show, err := demo.New(demo.Options{
		Client: client, Second: second, Cut: cut, Shop: service, Database: db, Users: store.SampleUsers, Outage: outage,
		Base: &url.URL{Scheme: "http", Host: server.Listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(errors.Join(err, second.Close(), cut.Close(), client.Close(), outage.Close(), db.Close()))
	}
	end, ending := context.WithCancel(t.Context())
	log := new(bytes.Buffer)
	server.Config.Handler = web.New(web.Options{
		Shop: service, Ready: client.Ping, Log: slog.New(slog.NewTextHandler(log, nil)), Engine: "a test's engine", Demo: show, Ending: end,
	})
	server.Start()
	t.Cleanup(func() {
		ending()
		show.Stop()
		http.DefaultClient.CloseIdleConnections()
		server.Close()
		if err := errors.Join(second.Close(), cut.Close(), client.Close(), outage.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return &instance{t: t, url: server.URL, store: db, client: client, shop: service, log: log}, ending
}

// live returns the samples of the demo's stream. The channel is closed when the stream ends.
func (in *instance) live() <-chan demo.Sample {
	in.t.Helper()
	res, err := http.Get(in.url + "/demo/live")
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { res.Body.Close() })
	samples := make(chan demo.Sample, 1024)
	go func() {
		defer close(samples)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			var s demo.Sample
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &s) == nil {
				samples <- s
			}
		}
	}()
	return samples
}

// sampled waits for a sample that fulfils a condition.
func sampled(t *testing.T, samples <-chan demo.Sample, what string, shows func(demo.Sample) bool) {
	t.Helper()
	var last demo.Sample
	late := time.After(30 * time.Second)
	for {
		select {
		case s, ok := <-samples:
			if !ok {
				t.Fatalf("the stream ended before it showed %s", what)
			}
			if last = s; shows(s) {
				return
			}
		case <-late:
			t.Fatalf("no sample shows %s; the last is %+v", what, last)
		}
	}
}

func TestBreakingRedisDuringTrafficIsSeen(t *testing.T) {
	t.Parallel()
	in, ending := startDemo(t)
	in.become(in.addUser("ada@example.com", "Ada"))
	samples := in.live()
	wantStatus(t, in.post("/demo/traffic", `{"users": 10, "seconds": 100}`), http.StatusOK)
	sampled(t, samples, "traffic that the cache answers", func(s demo.Sample) bool {
		return s.TrafficUsers == 10 && s.TrafficSeconds > 0 && s.RPS > 0 && s.LoadsAvoided > 0 &&
			s.LimitAllowed > 0 && s.Breaker == "closed" && !s.RedisStopped
	})
	sampled(t, samples, "orders", func(s demo.Sample) bool { return s.LockAcquired > 0 })

	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK) // a second stop is no error
	sampled(t, samples, "an open breaker and reads all the same", func(s demo.Sample) bool {
		return s.RedisStopped && s.RedisSeconds > 0 && s.Breaker == "open" && s.RPS > 0 && s.Loads > 0
	})
	wantStatus(t, in.get("/api/users/1"), http.StatusOK) // from the database
	wantProblem(t, in.get("/api/orders"), http.StatusServiceUnavailable, "Try again")

	wantStatus(t, in.post("/demo/redis", `{"state": "resume"}`), http.StatusOK)
	sampled(t, samples, "that it is over", func(s demo.Sample) bool {
		return !s.RedisStopped &&
			s.Breaker == "closed" && s.RPS > 0
	})
	wantStatus(t, in.post("/demo/traffic", `{"users": 0, "seconds": 0}`), http.StatusOK)
	sampled(t, samples, "that the traffic is over", func(s demo.Sample) bool { return s.TrafficUsers == 0 && s.RPS == 0 })

	ending()
	late := time.After(10 * time.Second)
	for open := true; open; { // the stream ends, although the viewer stays
		select {
		case _, open = <-samples:
		case <-late:
			t.Fatal("the stream goes on after the shop has begun to shut down")
		}
	}
}

func TestDemoRefusesWhatIsOutOfBounds(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for path, bodies := range map[string][]string{
		"/demo/traffic": {`{"users": 201, "seconds": 10}`, `{"users": -1, "seconds": 10}`,
			`{"users": 10, "seconds": 121}`, `{"users": 10}`},
		"/demo/redis": {`{"state": "explode"}`, `{}`},
	} {
		for _, body := range bodies {
			wantProblem(t, in.post(path, body), http.StatusUnprocessableEntity, "must be")
		}
		wantProblem(t, in.do("POST", path, `{}`, "Content-Type", "application/json", "Sec-Fetch-Site",
			"cross-site"), http.StatusForbidden, "another site")
	}
}
