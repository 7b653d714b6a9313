package guides_test

import (
	"expvar"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig/allmetrics"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/session"
)

// publishMetrics shows all counters at /debug/vars. An exporter for Prometheus reads the same
// sequence.
func publishMetrics(client *redstart.Client) {
	expvar.Publish("redstart", expvar.Func(func() any {
		values := map[string]float64{}
		for m := range client.Metrics() {
			values[nameOf(m)] = m.Value
		}
		return values
	}))
}

// nameOf joins the name of a metric and its labels.
func nameOf(m observe.Metric) string {
	name := strings.Builder{}
	name.WriteString(m.Name)
	for _, label := range m.Labels {
		name.WriteString("," + label.Name + "=" + label.Value)
	}
	return name.String()
}

// ready answers readiness checks. The service stays ready without Redis if it can serve without it.
func ready(client *redstart.Client, needsRedis bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := client.Ping(r.Context()); err != nil && needsRedis {
			http.Error(w, "redis: not available", http.StatusServiceUnavailable)
		}
	}
}

// mountConsole serves the console to the operators of a service, next to its other handlers. roleOf
// returns the role of a signed-in user, for example from a database.
func mountConsole(mux *http.ServeMux, client *redstart.Client, sessions *session.Manager[Account],
	roleOf func(user string) (console.Role, error)) (*console.Console, error) {
	c, err := console.New(client, console.Options{
		Prefix: "/console",
		Authorize: func(r *http.Request) (console.Role, error) {
			user := sessions.FromContext(r.Context()).User()
			if user == "" {
				return console.NoRole, nil
			}
			return roleOf(user)
		},
		Actor: func(r *http.Request) string { return sessions.FromContext(r.Context()).User() },
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("/console/", sessions.Middleware(c))
	return c, nil
}

// A signed-in operator opens the console, and a visitor does not.
func TestMountConsole(t *testing.T) {
	t.Parallel()
	client := redstarttest.Start(t).Client()
	sessions, err := session.New[Account](client, "console", session.Options{Cookie: session.CookieOptions{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	c, err := mountConsole(mux, client, sessions, func(string) (console.Role, error) { return console.Operator, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ada, err := sessions.Create(t.Context(), "ada", Account{})
	if err != nil {
		t.Fatal(err)
	}
	for want, cookie := range map[int]*http.Cookie{http.StatusOK: sessions.Cookie(ada), http.StatusForbidden: {Name: "other", Value: "1"}} {
		r := httptest.NewRequest(http.MethodGet, "/console/", nil)
		r.AddCookie(cookie)
		w := httptest.NewRecorder()
		if mux.ServeHTTP(w, r); w.Code != want {
			t.Errorf("the console has status %d, want %d", w.Code, want)
		}
	}
}

var metricName = regexp.MustCompile("`(redstart\\.[a-z_.]+)`")

// TestGuidesNameMetricsThatExist checks that a client yields each metric that a guide names.
func TestGuidesNameMetricsThatExist(t *testing.T) {
	client := redstarttest.Start(t).Client()
	allmetrics.Emit(t, client)
	if ready(client, true) == nil || client.Ping(t.Context()) != nil {
		t.Fatal("not ready")
	}
	if expvar.Get("redstart") == nil { // expvar refuses a name twice, as in a run with -count
		publishMetrics(client)
	}

	known := map[string]bool{}
	for m := range client.Metrics() {
		known[m.Name] = true
	}
	for _, h := range observe.Histograms() {
		known[h.Name] = true
	}
	guides, err := filepath.Glob("*.md")
	if err != nil || len(guides) == 0 {
		t.Fatal(guides, err)
	}
	named := 0
	for _, guide := range guides {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range metricName.FindAllStringSubmatch(string(text), -1) {
			named++
			if !known[match[1]] {
				t.Errorf("%s names the metric %s, which no client yields", guide, match[1])
			}
		}
	}
	if named == 0 {
		t.Error("no guide names a metric")
	}
}
