package console_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// A sealed name in a form is escaped as in the pages.
func sealed(pairs ...string) url.Values {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], url.QueryEscape(pairs[i+1]))
	}
	return form
}

// The fixture of the tests of repairs: a held lock, dead letters and sessions with hostile names.
func repairable(t *testing.T) (s func(console.Options) *site, left func() string) {
	client := open(t, rig.Embedded(t).URL(), "app")
	fill(t, client, hostile, hostile)
	charge(t, client, hostile, hostile, 2)
	hold(t, client, hostile)
	die(t, client, "shop", hostile, "a", "b", "c")
	logIn(t, client, "web", hostile, 2)
	viewer := serve(t, client, console.Options{Authorize: as(console.Viewer)})
	left = func() string {
		t.Helper()
		locks := strings.Count(viewer.get("/locks").body, "holder-1")
		dead := viewer.get("/events" + query("bus", "shop", "group", hostile)).body
		sessions := strings.Count(viewer.get("/sessions"+query("manager", "web", "user", hostile)).body, "192.0.2.7")
		hit := strings.Count(viewer.get("/caches"+query("cache", hostile, "key", hostile)).body, "Hit: a read serves")
		spent := strings.Count(viewer.get("/limits"+query("limiter", hostile, "key", hostile)).body, "The next request is refused")
		return strings.Repeat("R", spent) + strings.Repeat("C", hit) +
			strings.Repeat("L", min(locks, 1)) + strings.Repeat("D", strings.Count(dead, "cause ")) + strings.Repeat("S", sessions)
	}
	return func(opts console.Options) *site { return serve(t, client, opts) }, left
}

// Each repair, with a form that would work for an operator.
var allRepairs = map[string]url.Values{
	"/caches/delete":       sealed("cache", hostile, "key", hostile),
	"/caches/expire":       sealed("cache", hostile, "key", hostile),
	"/caches/invalidate":   sealed("cache", hostile, "tag", "tag"),
	"/caches/clear":        sealed("cache", hostile),
	"/idempotency/forget":  sealed("executor", "orders", "scope", "ada", "key", "k-1"),
	"/limits/reset":        sealed("limiter", hostile, "key", hostile),
	"/limits/end-permits":  sealed("limiter", hostile, "key", hostile),
	"/locks/break":         sealed("name", hostile),
	"/events/redrive":      letter("shop", hostile, "1-1"),
	"/events/redrive-all":  sealed("bus", "shop", "group", hostile),
	"/events/drop":         letter("shop", hostile, "1-1"),
	"/events/drop-all":     sealed("bus", "shop", "group", hostile),
	"/events/pause":        sealed("bus", "shop", "group", hostile),
	"/events/resume":       sealed("bus", "shop", "group", hostile),
	"/events/drop-group":   sealed("bus", "shop", "group", hostile),
	"/sessions/revoke":     sealed("manager", "web", "user", hostile, "id", "id"),
	"/sessions/revoke-all": sealed("manager", "web", "user", hostile),
}

// letter is the form of one dead letter.
func letter(bus, group, id string) url.Values {
	form := sealed("bus", bus, "group", group)
	form.Set("id", id)
	return form
}

// The tests know each repair.
func TestAllRepairsAreTested(t *testing.T) {
	t.Parallel()
	if tested, want := slices.Sorted(maps.Keys(allRepairs)), console.RepairPaths(); !slices.Equal(tested, want) {
		t.Errorf("the tests have the repairs %v, the console has %v", tested, want)
	}
}

func TestRepairsAreRefused(t *testing.T) {
	t.Parallel()
	start, left := repairable(t)
	before := left()
	if before != "RCLDDDSS" {
		t.Fatalf("the fixture has %s", before)
	}
	for _, c := range []struct {
		name    string
		opts    console.Options
		headers []string
		want    string
	}{
		{"viewer", console.Options{Authorize: as(console.Viewer)}, nil, "needs the role operator"},
		{"no role", console.Options{Authorize: as(console.NoRole)}, nil, "no role"},
		{"read-only", console.Options{ReadOnly: true}, nil, "read-only"},
		{"cross-site", console.Options{}, []string{"Sec-Fetch-Site", "cross-site"}, "another site"},
		{"same-site", console.Options{}, []string{"Sec-Fetch-Site", "same-site"}, "another site"},
		{"origin null", console.Options{}, []string{"Sec-Fetch-Site", "", "Origin", "null"}, "another site"},
		{"origin with another port", console.Options{}, []string{"Sec-Fetch-Site", "", "Origin", "http://127.0.0.1:1"}, "another site"},
		{"foreign origin", console.Options{}, []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, "another site"},
	} {
		s := start(c.opts)
		for path, form := range allRepairs {
			got := s.post(path, form, c.headers...)
			if got.StatusCode != http.StatusForbidden || !strings.Contains(got.body, c.want) {
				t.Errorf("%s: POST %s has status %d, want 403 with %q: %s", c.name, path, got.StatusCode, c.want, got.body)
			}
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
				req, err := http.NewRequestWithContext(t.Context(), method, s.url+path+"?"+form.Encode(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := s.do(req); got.StatusCode < 400 {
					t.Errorf("%s %s has status %d", method, path, got.StatusCode)
				}
			}
		}
	}
	if after := left(); after != before {
		t.Errorf("before the refused repairs there was %s, after them %s", before, after)
	}
}

func TestRepairsOfAnOperator(t *testing.T) {
	t.Parallel()
	start, left := repairable(t)
	s := start(console.Options{})
	page := s.get("/events" + query("bus", "shop", "group", hostile)).body
	_, id, _ := strings.Cut(page, `name="id" value="`)
	id, _, _ = strings.Cut(id, `"`)
	one := sealed("bus", "shop", "group", hostile)
	one.Set("id", id)

	for _, c := range []struct {
		path string
		form url.Values
		left string
		text string
	}{
		{"/events/drop", one, "RCLDDSS", "The dead letter was dropped."},
		{"/events/drop", one, "RCLDDSS", "Nothing changed"},
		{"/events/drop-all", sealed("bus", "shop", "group", hostile), "RCLSS", "2 dead letters were dropped."},
		{"/events/pause", sealed("bus", "shop", "group", hostile), "RCLSS", "The group is paused."},
		{"/events/resume", sealed("bus", "shop", "group", hostile), "RCLSS", "The group is resumed."},
		{"/sessions/revoke-all", sealed("manager", "web", "user", hostile), "RCL", "2 sessions were revoked."},
		{"/locks/break", sealed("name", hostile), "RC", "The lock was broken."},
		{"/limits/reset", sealed("limiter", hostile, "key", hostile), "C", "The limit was reset."},
		{"/caches/expire", sealed("cache", hostile, "key", hostile), "", "The value is stale now."},
		{"/caches/delete", sealed("cache", hostile, "key", hostile), "", "The key was deleted."},
		{"/caches/clear", sealed("cache", hostile), "", "The cache was cleared."},
	} {
		got := s.post(c.path, c.form)
		if got.StatusCode != http.StatusSeeOther {
			t.Fatalf("POST %s has status %d: %s", c.path, got.StatusCode, got.body)
		}
		target := strings.TrimPrefix(got.Header.Get("Location"), "/console")
		s.get(target).expect(t, target, c.text)
		if now := left(); now != c.left {
			t.Errorf("after %s there is %q, want %q", c.path, now, c.left)
		}
	}

	gone := s.post("/locks/break", sealed("name", hostile))
	if gone.StatusCode != http.StatusConflict || !strings.Contains(gone.body, "not found") {
		t.Errorf("to break a free lock has status %d: %s", gone.StatusCode, gone.body)
	}
}

// A list that is read every 15 s is read again after a repair.
func TestListsAreReadAgainAfterARepair(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	charge(t, client, "api", "ada", 1)
	s := serve(t, client, console.Options{})
	keys := "/limits" + query("limiter", "api")
	s.get(keys).expect(t, "before the repair", ">ada</code>")
	charge(t, client, "api", "grace", 1)
	if strings.Contains(s.get(keys).body, ">grace</code>") {
		t.Error("the control failed: the list is read for each page")
	}
	s.post("/limits/reset", sealed("limiter", "api", "key", "ada"))
	got := s.get(keys)
	got.expect(t, "after the repair", ">grace</code>")
	if strings.Contains(got.part("keys"), ">ada</code>") {
		t.Error("after its reset the list has the key")
	}
}

// A repair returns to a page of the console only.
func TestRepairsRedirectInsideTheConsole(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	die(t, client, "shop", "g")
	s := serve(t, client, console.Options{})
	for back, want := range map[string]string{
		"/console/locks?name=a": "/console/locks?",
		"/locks":                "/console/events?", "//evil.example/console/locks": "/console/events?",
		"https://evil.example/console/locks": "/console/events?", "javascript:alert(1)": "/console/events?",
		"/console/../x": "/console/events?", "\\\\evil.example": "/console/events?", "": "/console/events?",
	} {
		form := sealed("bus", "shop", "group", "g")
		form.Set("back", back)
		got := s.post("/events/resume", form)
		if target := got.Header.Get("Location"); got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(target, want) {
			t.Errorf("back %q has status %d and leads to %q", back, got.StatusCode, target)
		}
	}
}
