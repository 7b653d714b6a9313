package console_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// shipped fills a server with an ACL file, and returns the console of its user, the form of each
// repair, and the pages that show the state.
func shipped(t *testing.T, file string) (s *site, forms map[string]url.Values, pages map[string][]string) {
	t.Helper()
	server := rig.ACLServer(t, file)
	service := open(t, "redis://"+server.Addr()+"/", "app")
	fill(t, service, "users", "ada")
	charge(t, service, "api", "ada", 2)
	jobs := must(ratelimit.NewConcurrency(service, "api", ratelimit.ConcurrencyOptions{Limit: 2, TTL: time.Minute}))(t)
	must(jobs.Acquire(t.Context(), "ada"))(t) // the client ends it
	hold(t, service, "invoice")
	die(t, service, "shop", "mailer", "a", "b", "c", "d")
	logIn(t, service, "web", "ada", 3)
	executor(t, service, "orders", "ada", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") })("k-1")
	paused := must(events.NewDurable(service, "shop", events.DurableOptions{Partitions: 2}))(t)
	must(0, paused.Pause(t.Context(), "mailer"))(t)

	s = serve(t, open(t, server.URL(), "app"), console.Options{})
	group := sealed("bus", "shop", "group", "mailer")
	forms = map[string]url.Values{
		"/caches/delete": sealed("cache", "users", "key", "ada"), "/caches/expire": sealed("cache", "users", "key", "ada"),
		"/caches/invalidate": {"cache": {"users"}, "tag": {"team"}}, "/caches/clear": sealed("cache", "users"),
		"/idempotency/forget": sealed("executor", "orders", "scope", "ada", "key", "k-1"),
		"/limits/reset":       sealed("limiter", "api", "key", "ada"), "/limits/end-permits": sealed("limiter", "api", "key", "ada"),
		"/locks/break": sealed("name", "invoice"), "/events/redrive-all": group, "/events/drop-all": group,
		"/events/pause": group, "/events/resume": group, "/events/drop-group": group,
		"/sessions/revoke-all": sealed("manager", "web", "user", "ada"),
	}
	ids := valuesOf(s.get("/events"+query("bus", "shop", "group", "mailer")).part("dead"), `name="id" value="`)
	sessions := valuesOf(s.get("/sessions"+query("manager", "web", "user", "ada")).part("sessions"), `name="id" value="`)
	if len(ids) < 2 || len(sessions) == 0 {
		t.Fatalf("the pages have %d dead letters and %d sessions", len(ids), len(sessions))
	}
	forms["/events/redrive"], forms["/events/drop"] = letter("shop", "mailer", ids[0]), letter("shop", "mailer", ids[1])
	forms["/sessions/revoke"] = url.Values{"manager": {"web"}, "user": {"ada"}, "id": {sessions[0]}}
	if have := slices.Sorted(maps.Keys(forms)); !slices.Equal(have, console.RepairPaths()) {
		t.Fatalf("the forms are %v, want %v", have, console.RepairPaths())
	}
	return s, forms, map[string][]string{
		"/": {"All nodes answer."}, "/server": {"Connection"}, "/locks": {"invoice", "holder-1"},
		"/caches": {"users"}, "/caches" + query("cache", "users", "key", "ada"): {"Hit: a read serves"},
		"/idempotency" + query("executor", "orders", "scope", "ada", "key", "k-1"): {"Finished: a repeated request"},
		"/limits": {"api"}, "/limits" + query("limiter", "api", "key", "ada"): {"Permits"},
		"/events" + query("bus", "shop", "group", "mailer"):  {"cause ", "paused"},
		"/sessions" + query("manager", "web", "user", "ada"): {"192.0.2.7"},
	}
}

// valuesOf returns the texts between a prefix and the next quote.
func valuesOf(body, prefix string) (values []string) {
	for _, rest := range strings.Split(body, prefix)[1:] {
		value, _, _ := strings.Cut(rest, `"`)
		values = append(values, value)
	}
	return values
}

// The user who may only read sees each page. Each repair is refused with the reason, and changes
// nothing.
func TestTheReadingUserIsRefusedEachRepairClearly(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s, forms, pages := shipped(t, "redstart-inspect.acl")
	for path, form := range forms {
		got := s.post(path, form)
		if got.StatusCode != http.StatusForbidden || !strings.Contains(got.body, "The ACL of this user denies it") ||
			!strings.Contains(got.body, "redstart-operate.acl") || strings.Contains(got.body, "were changed") {
			t.Errorf("POST %s has status %d: %s", path, got.StatusCode, got.body)
		}
	}
	for page, texts := range pages {
		got := s.get(page)
		got.expect(t, page, texts...)
		if strings.Contains(got.body, "The ACL of this user denies it") {
			t.Errorf("a part of %s is denied:\n%s", page, got.body)
		}
	}
}

// The user for repairs may do each of them.
func TestTheOperatingUserMayDoEachRepair(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s, forms, pages := shipped(t, "redstart-operate.acl")
	for page, texts := range pages {
		s.get(page).expect(t, page, texts...)
	}
	last := []string{
		"/caches/delete", "/caches/clear", "/events/redrive-all", "/events/drop-all", "/events/drop-group", "/sessions/revoke-all",
	}
	first := slices.DeleteFunc(console.RepairPaths(), func(path string) bool { return slices.Contains(last, path) })
	for _, path := range append(first, last...) {
		if got := s.post(path, forms[path]); got.StatusCode != http.StatusSeeOther {
			t.Errorf("POST %s has status %d: %s", path, got.StatusCode, got.body)
		}
	}
	s.get("/locks").expect(t, "locks", "No lock is held")
	s.get("/sessions"+query("manager", "web", "user", "ada")).expect(t, "sessions", "This user has no session")
	s.get("/caches"+query("cache", "users", "key", "ada")).expect(t, "caches", "Miss: a read loads")
}
