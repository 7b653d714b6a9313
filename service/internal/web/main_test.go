package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/service/internal/metrics"
	"github.com/redstart-go/redstart/service/internal/requestid"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
	"github.com/redstart-go/redstart/service/internal/web"
)

func TestMain(m *testing.M) { rig.Main(m) }

// instance is one running shop.
type instance struct {
	t      *testing.T
	url    string
	store  *store.Store
	client *redstart.Client
	shop   *shop.Shop
	log    *bytes.Buffer

	metrics *metrics.Metrics
	cookie  string // sent with every request, see become
}

// start starts a shop on this Redis and database. Instances with the same two are one shop.
func start(t *testing.T, redis redstart.Config, database string) *instance {
	t.Helper()
	return startWith(t, redis, database, shop.Options{Limits: unlimited()})
}

func startWith(t *testing.T, redis redstart.Config, database string, opts shop.Options) *instance {
	t.Helper()
	opts.InsecureCookies = true
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	counts, err := metrics.New()
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	if redis.Observer == nil {
		redis.Observer = counts.Observer()
	}
	client, err := redstart.Open(t.Context(), redis)
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	service, err := shop.New(client, db, opts)
	if err != nil {
		t.Fatal(errors.Join(err, client.Close(), db.Close()))
	}
	counts.Export(client.Metrics(), db.Metrics())
	log := new(bytes.Buffer)
	server := httptest.NewServer(web.New(web.Options{
		Shop:   service,
		Ready:  func(ctx context.Context) error { return errors.Join(client.Ping(ctx), db.Ping(ctx)) },
		Log:    slog.New(requestid.Handler(slog.NewTextHandler(log, nil))), // TextHandler locks the buffer
		Engine: "a test's engine",

		Metrics: counts,
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, // tests set their address with X-Forwarded-For
	}))
	t.Cleanup(func() {
		server.Client().CloseIdleConnections()
		server.Close()
		if err := errors.Join(counts.Close(context.Background()), client.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return &instance{t: t, url: server.URL, store: db, client: client, shop: service, log: log, metrics: counts}
}

// startEmbedded starts a shop on its own embedded engine, for tests that do not depend on the
// server.
func startEmbedded(t *testing.T) *instance {
	t.Helper()
	return start(t, redstarttest.Start(t).Config(), newDatabase(t))
}

// unlimited are limits that only tests of limits can reach.
func unlimited() *shop.Limits {
	plenty := []ratelimit.Rule{ratelimit.PerSecond(100_000)}
	return &shop.Limits{Free: plenty, Pro: plenty, LoginByAddress: plenty, LoginByPair: plenty, LoginByAccount: plenty}
}

// on is a Redis with timeouts that are longer than the pauses of a busy machine.
func on(url, namespace string) redstart.Config {
	return redstart.Config{URL: url, Namespace: namespace, CommandTimeout: 5 * time.Second}
}

func newDatabase(t *testing.T) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "shop.db")
}

// addUser adds a user directly to the database.
func (in *instance) addUser(email, name string) store.User {
	in.t.Helper()
	u, err := in.store.AddUser(in.t.Context(), store.User{Email: email, Name: name, PasswordHash: "hash-of-" +
		email, CreatedAt: time.Now()})
	if err != nil {
		in.t.Fatal(err)
	}
	return u
}

// become logs a user in: the instance sends all following requests with this cookie. Every instance
// accepts it.
func (in *instance) become(user store.User) *instance {
	in.t.Helper()
	s, err := in.shop.Sessions.Create(in.t.Context(), shop.SessionUser(user.ID), shop.Visit{Plan: user.Plan})
	if err != nil {
		in.t.Fatal(err)
	}
	in.cookie = in.shop.Sessions.Cookie(s).String()
	in.cookie, _, _ = strings.Cut(in.cookie, ";")
	return in
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request. headers are alternating names and values.
func (in *instance) do(method, path, body string, headers ...string) answer {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), method, in.url+path, strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	if in.cookie != "" {
		req.Header.Set("Cookie", in.cookie)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

func (in *instance) get(path string) answer {
	in.t.Helper()
	return in.do("GET", path, "")
}

func (in *instance) patch(path, body string) answer {
	in.t.Helper()
	return in.do("PATCH", path, body, "Content-Type", "application/json")
}

// field returns a string field of a JSON response.
func (a answer) field(t *testing.T, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	value, _ := fields[name].(string)
	return value
}

func wantStatus(t *testing.T, a answer, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d; body %s", a.status, status, a.body)
	}
}

// wantProblem checks that the response is a problem (RFC 9457) with this status, whose detail
// contains about. The problem must contain no internals.
func wantProblem(t *testing.T, a answer, status int, about string) {
	t.Helper()
	wantStatus(t, a, status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	var p struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Errorf("%v in %q", err, a.body)
	}
	if p.Status != status || p.Title != http.StatusText(status) || !strings.Contains(p.Detail, about) {
		t.Errorf("problem %+v; want status %d and a detail that mentions %q", p, status, about)
	}
	detail := a.body
	if id := a.header.Get("X-Request-Id"); id != "" {
		detail = strings.ReplaceAll(detail, id, "") // an id can contain the letters of SQL
	}
	for _, inside := range []string{"goroutine", ".go:", "sqlite", "SQL", "json:", "redstart:"} {
		if strings.Contains(detail, inside) {
			t.Errorf("the problem contains internals (%s): %s", inside, a.body)
		}
	}
}

// wantSource checks that the value came from the database, or from any cache, which depends on the
// engine.
func wantSource(t *testing.T, a answer, source shop.Source) {
	t.Helper()
	wantStatus(t, a, http.StatusOK)
	status, outcomes := "shop; hit", "hit near"
	if source == shop.FromDatabase {
		status, outcomes = "shop; fwd=miss", "miss"
	}
	if got := a.header.Get("Cache-Status"); got != status {
		t.Errorf("Cache-Status %q, want %q", got, status)
	}
	if got := a.header.Get("X-Cache"); got == "" || !strings.Contains(outcomes, got) {
		t.Errorf("X-Cache %q, want %s", got, outcomes)
	}
}
