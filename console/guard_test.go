package console_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// A console that lets every visitor in does not exist: New refuses options without Authorize.
func TestNewRefusesOptionsByField(t *testing.T) {
	t.Parallel()
	client := open(t, "redis://127.0.0.1:1", "app", func(cfg *redstart.Config) { cfg.Lazy = true })
	for _, c := range []struct {
		name string
		opts console.Options
		want string
	}{
		{"no Authorize", console.Options{}, "Options.Authorize is nil"},
		{"prefix without a slash", console.Options{Authorize: as(console.Viewer), Prefix: "console"}, "Options.Prefix"},
		{"prefix with a slash at its end", console.Options{Authorize: as(console.Viewer), Prefix: "/console/"}, "Options.Prefix"},
		{"prefix with a pattern", console.Options{Authorize: as(console.Viewer), Prefix: "/{x}"}, "Options.Prefix"},
		{"prefix with a parent", console.Options{Authorize: as(console.Viewer), Prefix: "/a/../b"}, "Options.Prefix"},
		{"prefix with an empty part", console.Options{Authorize: as(console.Viewer), Prefix: "/a//b"}, "Options.Prefix"},
		{"prefix with a dot", console.Options{Authorize: as(console.Viewer), Prefix: "/a/."}, "Options.Prefix"},
		{"prefix with a tab", console.Options{Authorize: as(console.Viewer), Prefix: "/a\tb"}, "Options.Prefix"},
		{"escaped prefix", console.Options{Authorize: as(console.Viewer), Prefix: "/a%2fb"}, "Options.Prefix"},
		{"prefix of another host", console.Options{Authorize: as(console.Viewer), Prefix: "//evil.example"}, "Options.Prefix"},
		{"prefix that is no ASCII", console.Options{Authorize: as(console.Viewer), Prefix: "/\u202e"}, "Options.Prefix"},
		{"long prefix", console.Options{Authorize: as(console.Viewer), Prefix: "/" + strings.Repeat("x", 300)}, "Options.Prefix"},
		{"unknown mask", console.Options{Authorize: as(console.Viewer), Mask: 9}, "Options.Mask"},
	} {
		if con, err := console.New(client, c.opts); con != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
	for _, prefix := range []string{"", "/console", "/ops/console-1.0/~team_a"} {
		con := must(console.New(client, console.Options{Authorize: as(console.Viewer), Prefix: prefix}))(t)
		must(0, con.Close())(t)
	}
	if con, err := console.New(nil, console.Options{Authorize: as(console.Viewer)}); con != nil || err == nil {
		t.Errorf("a nil client: got %v, want an error", err)
	}
}

func TestRequestsWithoutARoleAreRefused(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for name, authorize := range map[string]func(*http.Request) (console.Role, error){
		"no role":      as(console.NoRole),
		"unknown role": as(console.Role(9)),
		"error":        func(*http.Request) (console.Role, error) { return console.Operator, errors.New("secret reason") },
		"panic":        func(*http.Request) (console.Role, error) { panic("secret reason") },
	} {
		s := serve(t, client, console.Options{Authorize: authorize})
		for _, path := range []string{"/", "/server", "/live?page=/", "/assets/console.js", "/nowhere", ""} {
			if got := s.get(path); got.StatusCode != http.StatusForbidden || strings.Contains(got.body, "secret") {
				t.Errorf("%s: GET %q has status %d: %s", name, path, got.StatusCode, got.body)
			}
		}
	}
	control := serve(t, client, console.Options{Authorize: as(console.Viewer)})
	for _, path := range []string{"/", "/server", "/assets/console.js"} {
		if got := control.get(path); got.StatusCode != http.StatusOK {
			t.Errorf("a viewer gets status %d for %q", got.StatusCode, path)
		}
	}
}

// A browser keeps no copy of a response, so that a page is gone after a logout. Other sites can't
// show a page in a frame.
func TestEveryResponseHasTheHeaders(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	allowed := serve(t, client, console.Options{})
	refused := serve(t, client, console.Options{Authorize: as(console.NoRole)})
	closed := serve(t, client, console.Options{})
	must(0, closed.con.Close())(t)
	group := sealed("bus", "shop", "group", "g")
	for name, got := range map[string]answer{
		"page": allowed.get("/"), "file": allowed.get("/assets/console.css"), "no page": allowed.get("/nowhere"),
		"refused": refused.get("/"), "redirect": allowed.get(""), "closed": closed.get("/"), "no stream": allowed.get("/live?page=x"),
		"long address": allowed.get("/locks" + query("name", strings.Repeat("n", 20<<10))), "other method": allowed.post("/locks", group),
		"failed repair": allowed.post("/events/pause", nil),
		"other site":    allowed.post("/events/pause", group, "Sec-Fetch-Site", "cross-site"),
		"stream":        {Response: allowed.watch("/locks", "").Response},
	} {
		for header, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := got.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		csp := got.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'",
			"base-uri 'none'", "form-action 'self'", "connect-src 'self'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: the policy %q has no %q", name, csp, part)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: the policy allows inline code: %q", name, csp)
		}
	}
	body := allowed.get("/").body
	for _, inline := range []string{"<style", " style=", " onclick=", "<script>"} {
		if strings.Contains(body, inline) {
			t.Errorf("the page has %q, which its policy refuses", inline)
		}
	}
}
