package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
)

// query returns a query with one argument per pair.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}

// expect checks the status of a page, its texts, and that it has no unescaped hostile text.
func (a answer) expect(t testing.TB, page string, texts ...string) {
	t.Helper()
	if a.StatusCode != http.StatusOK {
		t.Errorf("%s has status %d", page, a.StatusCode)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s has no %q:\n%s", page, text, a.body)
		}
	}
	for _, raw := range []string{"<script>alert", "\x1b", "\u202e", "\xff"} {
		if strings.Contains(a.body, raw) {
			t.Errorf("%s has the raw text %q", page, raw)
		}
	}
}

// part returns the HTML of one part of a page, and "" if the page does not have it.
func (a answer) part(name string) string {
	_, from, _ := strings.Cut(a.body, `data-part="`+name+`"`)
	part, _, _ := strings.Cut(from, "</section>")
	return part
}

func TestPagesShowHostileNamesSafely(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	hold(t, client, hostile)
	queue(t, client, hostile)
	die(t, client, hostile, hostile, text, "users:7")
	logIn(t, client, hostile, hostile, 2)
	fill(t, client, hostile, hostile)
	charge(t, client, hostile, hostile, 1)
	s := serve(t, client, console.Options{Mask: console.MaskNone})

	s.get("/locks").expect(t, "locks", shownHostile, "holder-1")
	s.get("/locks"+query("name", hostile)).expect(t, "lock", shownHostile, "holder-1", "waiter-1",
		"waits ", `action="/console/locks/break"`)
	s.get("/events").expect(t, "events", shownHostile, "no process")
	s.get("/events"+query("bus", hostile, "group", hostile)).expect(t, "group", "cause "+shownHostile[:60], "users:7", "Redrive selected")
	s.get("/sessions"+query("manager", hostile, "user", hostile)).expect(t, "sessions", shownHostile, "192.0.2.7")
	s.get("/caches").expect(t, "caches", shownHostile)
	s.get("/caches"+query("cache", hostile, "key", hostile)).expect(t, "explain", shownHostile, "Hit: a read serves", "The value is fresh.",
		"Show the value", `action="/console/caches/delete"`)
	s.get("/caches"+query("cache", hostile, "key", "other")).expect(t, "a miss", "Miss: a read loads", "Redis has no value")
	s.get("/caches"+query("cache", hostile, "key", hostile, "value", "show")).expect(t, "value", "value &lt;script&gt;")
	s.get("/limits"+query("limiter", hostile, "key", hostile)).expect(t, "limits", shownHostile, "The next request is allowed.",
		`action="/console/limits/reset"`)
	s.get("/"+query("done", hostile)).expect(t, "overview")
	s.get("/server").expect(t, "server", "embedded")
}

// A viewer sees the same pages without the forms of repairs.
func TestViewersGetNoForms(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	hold(t, client, "invoice")
	die(t, client, "shop", "mailer", "users:7")
	logIn(t, client, "web", "ada", 1)
	pages := []string{
		"/locks" + query("name", "invoice"), "/events" + query("bus", "shop", "group", "mailer"),
		"/sessions" + query("manager", "web", "user", "ada"),
	}
	for role, want := range map[console.Role]bool{console.Viewer: false, console.Operator: true} {
		s := serve(t, client, console.Options{Authorize: as(role)})
		for _, page := range pages {
			got := s.get(page)
			if has := strings.Contains(got.body, `formmethod="post"`) || strings.Contains(got.body, "/break\"") ||
				strings.Contains(got.body, "/redrive-all\"") || strings.Contains(got.body, "/revoke\""); has != want {
				t.Errorf("%s for a %v: form is %v, want %v", page, role, has, want)
			}
		}
	}
	readOnly := serve(t, client, console.Options{ReadOnly: true})
	for _, page := range pages {
		if body := readOnly.get(page).body; strings.Contains(body, "/break\"") || strings.Contains(body, "/redrive") ||
			strings.Contains(body, "/revoke") || !strings.Contains(body, "read-only") {
			t.Errorf("%s of a read-only console has a form, or does not say that it is read-only", page)
		}
	}
}

// A foreign key whose name has 1 MiB is one short row, and the longest name of a lock is cut too.
// The control is the row of a short name: it has its whole name.
func TestAMegabyteOfNameIsOneRow(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	hold(t, client, "control")
	before := serve(t, client, console.Options{}).get("/locks").body
	longest := strings.Repeat("l", lock.MaxName)
	hold(t, client, longest)
	huge := strings.Repeat("n", 1<<20)
	redis := rigclient.Redis(t, client)
	for _, guess := range []string{
		"app:lock::{" + huge + "}", "app:lock:{" + huge + "}", "app:lock:default:{" + huge + "}", "app:lock:mutex:{" + huge + "}",
	} {
		must(0, redis.Do(t.Context(), redis.B().Set().Key(guess).Value("foreign").Build()).Error())(t)
	}

	got := serve(t, client, console.Options{}).get("/locks")
	got.expect(t, "locks", ">control</code>", ">"+longest[:120]+"… (1,024 bytes)</code>", ">"+huge[:120]+"… (",
		"another program wrote this key")
	for _, long := range []string{longest[:121], huge[:121]} {
		if strings.Contains(got.body, ">"+long) {
			t.Errorf("a name on the page has more than 120 characters")
		}
	}
	if rows, control := strings.Count(got.body, "<tr>"), strings.Count(before, "<tr>"); rows != control+2 {
		t.Errorf("the page has %d rows, and %d before the long names, want 2 more", rows, control)
	}
	if grown := len(got.body) - len(before); grown > 16<<10 {
		t.Errorf("two long names add %d bytes to the page", grown)
	}
}

// The address of a page can hold any name, and too long ones are refused.
func TestLongAddressesAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	s.get("/locks"+query("name", strings.Repeat("n", 1024))).expect(t, "lock", strings.Repeat("n", 120)+"… (1,024 bytes)")
	if got := s.get("/locks" + query("name", strings.Repeat("n", 20<<10))); got.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("an address of 20 KiB has status %d", got.StatusCode)
	}
}

// Values are masked: for an operator without MaskNone, and for a viewer with it.
func TestValuesAreMasked(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	fill(t, client, "users", "ada")
	die(t, client, "shop", "mailer", "users:7")
	control := serve(t, client, console.Options{Mask: console.MaskNone})
	_, letter, _ := strings.Cut(control.get("/events"+query("bus", "shop", "group", "mailer")).body, `name="id" value="`)
	letter, _, _ = strings.Cut(letter, `"`)
	pages := []string{
		"/caches" + query("cache", "users", "key", "ada", "value", "show"),
		"/events" + query("bus", "shop", "group", "mailer", "letter", letter),
	}
	for name, opts := range map[string]console.Options{
		"operator": {}, "viewer with MaskNone": {Authorize: as(console.Viewer), Mask: console.MaskNone},
	} {
		s := serve(t, client, opts)
		for _, page := range pages {
			if body := s.get(page).body; strings.Contains(body, "value &lt;") || strings.Contains(body, "data &lt;") ||
				strings.Contains(body, `\u003cscript`) {
				t.Errorf("%s: %s shows the value:\n%s", name, page, body)
			}
		}
	}
	control.get(pages[0]).expect(t, "value", "value &lt;script")
	control.get(pages[1]).expect(t, "letter", "data ")
}
