package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scrape returns the samples of /metrics: their values by name and labels.
func (in *instance) scrape() map[string]string {
	in.t.Helper()
	wantStatus(in.t, in.get("/metrics"), http.StatusNotFound) // not on the address of the shop
	recorder := httptest.NewRecorder()
	in.metrics.ServeHTTP(recorder, httptest.NewRequestWithContext(in.t.Context(), "GET", "/metrics", nil))
	answer := answer{recorder.Code, recorder.Header(), recorder.Body.String()}
	wantStatus(in.t, answer, http.StatusOK)
	if got := answer.header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		in.t.Errorf("Content-Type %q, want the text format of Prometheus", got)
	}
	samples := make(map[string]string)
	for line := range strings.Lines(answer.body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		samples[line[:at]] = strings.TrimSpace(line[at:])
	}
	return samples
}

func TestMetricsAreScraped(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	in.become(in.addUser("ada@example.com", "Ada"))
	for range 3 {
		wantStatus(t, in.get("/api/users/1"), http.StatusOK)
	}
	wantStatus(t, in.get("/api/users/999"), http.StatusNotFound)
	_, path := in.order("Cards")
	wantStatus(t, in.post(path+"/process", ""), http.StatusOK)
	wantStatus(t, in.do("BREW", "/", ""), http.StatusMethodNotAllowed)

	samples := in.scrape()
	count := func(method, status, route string) string {
		return fmt.Sprintf("http_server_request_duration_seconds_count"+
			"{http_request_method=%q,http_response_status_code=%q,http_route=%q}", method, status, route)
	}
	for sample, want := range map[string]string{
		count("GET", "200", "/api/users/{id}"):                       "3",
		count("GET", "404", "/api/users/{id}"):                       "1",
		count("POST", "200", "/api/orders/{id}/process"):             "1",
		count("_OTHER", "405", ""):                                   "1",
		`redstart_cache_requests_total{cache="users",result="near"}`: "2",
		`redstart_cache_requests_total{cache="users",result="miss"}`: "2",
	} {
		if got := samples[sample]; got != want {
			t.Errorf("%s is %q, want %s", sample, got, want)
		}
	}
	reads, writes := in.store.Queries()
	for kind, n := range map[string]int64{"read": reads, "write": writes} {
		if got := samples[`shop_db_queries_total{kind="`+kind+`"}`]; got != fmt.Sprint(n) || n == 0 {
			t.Errorf("%s statements: %q, want %d", kind, got, n)
		}
	}
	for _, family := range []string{"redstart_lock_held{", "redstart_lock_acquired_total{",
		"redstart_ratelimit_requests", "redstart_session_",
		`redstart_operation_duration_seconds_bucket{name="users",pattern="cache",`, "go_goroutines", "process_open_fds"} {
		if !slices.ContainsFunc(names(samples), func(name string) bool { return strings.HasPrefix(name, family) }) {
			t.Errorf("nothing is called %s", family)
		}
	}
}

// No request creates an unbounded number of series, and no series contains text of a client.
func TestMetricsHaveNoUnboundedLabels(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	in.become(in.addUser("ada@example.com", "Ada"))
	ask := func(n int) {
		for _, path := range []string{"/api/users/%d", "/api/users?email=secret%d@example.com", "/secret%d",
			"//secret%d/../x", "/api/orders/%d", "/assets/secret%d", "/api/users/%d/"} {
			in.do("GET", fmt.Sprintf(path, n), "")
		}
		in.do(fmt.Sprintf("SECRET%d", n), "/", "")
		in.do("GET", "/api/users/1", "", "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", n), "User-Agent",
			fmt.Sprintf("secret%d", n))
	}
	ask(1001)
	in.scrape() // the scrape counts too
	first := names(in.scrape())
	for n := 1002; n < 1010; n++ {
		ask(n)
	}
	last := names(in.scrape())
	if added := slices.DeleteFunc(slices.Clone(last),
		func(name string) bool { return slices.Contains(first, name) }); len(added) > 0 {
		t.Errorf("more requests, more series:\n%s", strings.Join(added, "\n"))
	}
	private := regexp.MustCompile(`(?i)secret|203\.0|example`)
	for _, name := range last {
		if private.MatchString(name) {
			t.Errorf("a series contains text of a client: %s", name)
		}
	}
}

func names(samples map[string]string) []string {
	var all []string
	for sample := range samples {
		all = append(all, sample)
	}
	return all
}
