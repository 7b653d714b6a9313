package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// wide fills each pattern with one name, and returns the pages that show the state.
func wide(t *testing.T, url, namespace, name string) (*site, []string) {
	t.Helper()
	client := open(t, url, namespace)
	fill(t, client, name, name)
	charge(t, client, name, name, 1)
	hold(t, client, name)
	queue(t, client, name)
	die(t, client, name, name, name, name)
	logIn(t, client, name, name, 1)
	executor(t, client, name, name, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") })(name)
	return serve(t, client, console.Options{Mask: console.MaskNone}), []string{
		"/", "/server", "/caches", "/caches" + query("cache", name, "key", name), "/locks", "/locks" + query("name", name),
		"/limits", "/limits" + query("limiter", name), "/limits" + query("limiter", name, "key", name), "/sessions",
		"/sessions" + query("manager", name, "user", name), "/events", "/events" + query("bus", name),
		"/events" + query("bus", name, "group", name), "/idempotency",
		"/idempotency" + query("executor", name, "scope", name, "key", name),
	}
}

// keysOf returns all keys of a server.
func keysOf(t *testing.T, server *rig.Server) []string {
	t.Helper()
	reply, _ := must(server.Do("KEYS", "*"))(t).([]any)
	keys := make([]string, len(reply))
	for i := range reply {
		keys[i] = fmt.Sprint(reply[i])
	}
	return keys
}

// Each key of each pattern also exists with a name of 1 MiB, as a fault or another program can
// leave it. Pages show such names cut, and stay small.
func TestPagesOfEachPatternCutMegabytes(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server := rig.Standalone(t)
	const name = "needle"
	s, pages := wide(t, server.URL(), "app", name)
	control := make(map[string]int)
	for _, page := range pages {
		control[page] = len(s.get(page).body)
	}
	huge := strings.Repeat("n", 1<<20)
	copied := 0
	for _, key := range keysOf(t, server) {
		if strings.Contains(key, name) {
			must(server.Do("COPY", key, strings.Replace(key, name, huge, 1)))(t)
			must(server.Do("COPY", key, strings.ReplaceAll(key, name, huge)))(t)
			copied++
		}
	}
	if copied < 6 {
		t.Fatalf("%d keys have the name", copied)
	}

	other := serve(t, open(t, server.URL(), "app"), console.Options{Mask: console.MaskNone})
	shown := 0
	for _, page := range pages {
		got := other.get(page)
		got.expect(t, page)
		if at := strings.Index(got.body, huge[:200]); at >= 0 {
			t.Errorf("%s has a name that is not cut: %s", page, got.body[max(0, at-300):at+200])
		}
		shown += strings.Count(got.body, huge[:100]+"…") + strings.Count(got.body, "1,048,")
		if grown := len(got.body) - control[page]; grown > 64<<10 {
			t.Errorf("%s grew by %d bytes", page, grown)
		}
	}
	if shown == 0 {
		t.Error("no page shows a cut name")
	}
}

// Each key is replaced by data of another program. Each page answers, and shows the other parts.
func TestPagesShowForeignData(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server := rig.Standalone(t)
	for i, data := range [][]string{
		{"SET", "$", "foreign " + hostile}, {"RPUSH", "$", "foreign " + hostile}, {"HSET", "$", "a", "foreign " + hostile},
		{"XADD", "$", "*", "a", "foreign " + hostile}, {"ZADD", "$", "1", "foreign " + hostile}, {"SET", "$", ""},
	} {
		_, pages := wide(t, server.URL(), fmt.Sprint("app", i), "needle")
		for _, key := range keysOf(t, server) {
			if strings.Contains(key, fmt.Sprint("app", i)) {
				must(server.Do("DEL", key))(t)
				command := slices.Clone(data)
				command[1] = key
				must(server.Do(command...))(t)
			}
		}
		s := serve(t, open(t, server.URL(), fmt.Sprint("app", i)), console.Options{Mask: console.MaskNone})
		problems := 0
		for _, page := range pages {
			got := s.get(page)
			got.expect(t, page, "</html>")
			problems += strings.Count(got.body, `aria-label="warning"`) + strings.Count(got.body, `role="alert"`) +
				strings.Count(got.body, "another program") + strings.Count(got.body, "not an entry of this release")
		}
		if problems == 0 {
			t.Errorf("no page names the keys with %s as foreign", data[0])
		}
		must(server.Do("FLUSHALL"))(t) // the holder can release its lock
	}
}

// A bus of which one partition can't be read shows the other ones, and says what is missing.
func TestPagesShowTheReadablePartOfABus(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	die(t, client, "shop", "mailer", "a", "b", "c", "d", "e", "f")
	s := serve(t, client, console.Options{})
	group := "/events" + query("bus", "shop", "group", "mailer")
	whole := strings.Count(s.get("/events?bus=shop").part("latest"), "<tr>")
	streams := 0
	for _, key := range keysOf(t, server) {
		if kind := must(server.Do("TYPE", key))(t); kind == "stream" && streams == 0 && !strings.Contains(key, "dead") {
			streams++
			must(server.Do("DEL", key))(t)
			must(server.Do("SET", key, "foreign"))(t)
		}
	}
	if streams != 1 {
		t.Fatal("the bus has no stream")
	}
	latest := s.get("/events?bus=shop").part("latest")
	if rows := strings.Count(latest, "<tr>"); rows < 2 || rows >= whole || !strings.Contains(latest, "partition ") {
		t.Errorf("the page has %d of %d rows, and must name the partition that can't be read:\n%s", rows, whole, latest)
	}
	for part, page := range map[string]string{"groups": "/events?bus=shop", "group": group} {
		if shown := s.get(page).part(part); !strings.Contains(shown, "mailer") || !strings.Contains(shown, "partition") ||
			!strings.Contains(shown, `aria-label="warning"`) {
			t.Errorf("%s does not name the partition that can't be read:\n%s", page, shown)
		}
	}
}

// A list has pages. Together they have each item, and the last page says so.
func TestListsHavePages(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	const n = 120
	var names []string
	for i := range n {
		name := fmt.Sprintf("item-%03d", i)
		names = append(names, name)
		hold(t, client, name)
		charge(t, client, "api", name, 1)
	}
	die(t, client, "shop", "mailer", names...)
	logIn(t, client, "web", "ada", n)
	s := serve(t, client, console.Options{})
	for list, first := range map[string]string{
		"locks": "/locks", "keys": "/limits" + query("limiter", "api"), "dead": "/events" + query("bus", "shop", "group", "mailer"),
		"sessions": "/sessions" + query("manager", "web", "user", "ada"),
	} {
		found, rows, pages := make(map[string]bool), 0, 0
		for next := first; next != ""; pages++ {
			part := s.get(next).part(list)
			for _, name := range names {
				if strings.Contains(part, ">"+name+"<") {
					found[name] = true
				}
			}
			rows += strings.Count(part, "<tr>") - 1
			next = linkOf(part, "Next page")
			if next == "" && !strings.Contains(part, "This is the last page.") {
				t.Errorf("the last page of %s does not say so:\n%s", list, part)
			}
			if pages > n {
				t.Fatalf("the list of %s does not end", list)
			}
		}
		if pages < 2 {
			t.Errorf("%d items of %s are on %d page", n, list, pages)
		}
		if list == "sessions" && rows != n || list != "sessions" && len(found) != n {
			t.Errorf("%d pages of %s have %d names and %d rows, want %d", pages, list, len(found), rows, n)
		}
	}
}

// linkOf returns the target of a link by its text, without the prefix. It returns "" for none.
func linkOf(part, text string) string {
	before, _, has := strings.Cut(part, text+"</a>")
	if !has {
		return ""
	}
	_, target, _ := strings.Cut(before[strings.LastIndex(before, "<a "):], `href="`)
	target, _, _ = strings.Cut(target, `"`)
	parsed, err := url.Parse(strings.ReplaceAll(target, "&amp;", "&"))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(parsed.String(), "/console")
}
