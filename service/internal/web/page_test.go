package web_test

import (
	"html"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPageShowsWhereTheAnswerCameFrom(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	in.become(in.addUser("ada@example.com", "Ada Lovelace"))

	for _, source := range []string{"database", "near"} {
		page := in.get("/")
		wantStatus(t, page, http.StatusOK)
		for _, want := range []string{`id="name">Ada Lovelace<`, `id="email">ada@example.com<`,
			`data-source="` + source + `"`, "a test&#39;s engine"} {
			if !strings.Contains(page.body, want) {
				t.Errorf("the page lacks %q:\n%s", want, page.body)
			}
		}
		if !regexp.MustCompile(`id="took">\d+\.\d\d<`).MatchString(page.body) {
			t.Errorf("the page does not say how long it took:\n%s", page.body)
		}
	}
	wantStatus(t, in.get("/?user=99"), http.StatusNotFound)
}

func TestPageRunsNothingButItsOwnFiles(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	page := in.get("/")
	wantStatus(t, page, http.StatusOK) // also if there is no user
	policy := page.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'",
		"base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %q", policy, want)
		}
	}
	if inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script(?:>|[^>]*>[^<])`).FindString(page.body); inline != "" {
		t.Errorf("the page holds %q, which its own policy forbids", inline)
	}
	// Links of the text may lead to other sites and to sections. The browser loads neither.
	text := regexp.MustCompile(`<a [^>]*>`).ReplaceAllString(page.body, "")
	files := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(files) < 3 {
		t.Fatalf("the page uses only %v", files)
	}
	types := map[string]string{"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
	for _, file := range files {
		asset := in.get(file[1])
		wantStatus(t, asset, http.StatusOK)
		want := types[file[1][strings.LastIndex(file[1], ".")+1:]]
		if got := asset.header.Get("Content-Type"); !strings.HasPrefix(got, want) ||
			asset.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s has Content-Type %q, want %q", file[1], got, want)
		}
	}
}

// Each link to a section has its target, and the page shows the code of the compiled files.
func TestPageHasASectionForEachPattern(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	page := in.get("/")
	wantStatus(t, page, http.StatusOK)
	for _, pattern := range []string{"session", "cache", "lock", "events", "limit"} {
		for _, want := range []string{`<a href="#` + pattern + `">`, `<section id="` + pattern + `"`} {
			if !strings.Contains(page.body, want) {
				t.Errorf("the page lacks %s", want)
			}
		}
	}
	var shown []string
	for _, block := range regexp.MustCompile(`(?s)<code>(.*?)</code>`).FindAllStringSubmatch(page.body, -1) {
		shown = append(shown, html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(block[1], "")))
	}
	for _, story := range []string{"cache", "lock", "events", "session", "limit"} {
		lines, err := os.ReadFile("../demo/" + story + "_lines.go")
		if err != nil {
			t.Fatal(err)
		}
		_, code, found := strings.Cut(string(lines), "\n)\n\n")
		if !found || !strings.Contains(code, "func ") || !slices.Contains(shown, code) {
			t.Errorf("the page does not show the functions of %s_lines.go:\n%s", story, page.body)
		}
	}
}
