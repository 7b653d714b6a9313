package main_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// The demo serves the console to requests of this machine that name it. It serves no other ones.
func TestTheDemoServesTheConsoleToThisMachine(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	p := launchDemo(t)
	p.serving()
	for _, c := range []struct {
		name, path, host, header string
		want                     int
	}{
		{"this machine", "/console/", "", "", http.StatusOK},
		{"file", "/console/assets/console.css", "", "", http.StatusOK},
		{"name of another site", "/console/", "evil.example", "", http.StatusForbidden},
		{"behind a proxy", "/console/", "", "X-Forwarded-For", http.StatusForbidden},
		{"next to the console", "/consoles", "", "", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			req.Host = c.host
		}
		if c.header != "" {
			req.Header.Set(c.header, "192.0.2.1")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.want {
			t.Errorf("%s: GET %s has status %d (%v), want %d", c.name, c.path, res.StatusCode, err, c.want)
		}
		if c.want == http.StatusForbidden && strings.Contains(string(body), "Namespace") {
			t.Errorf("%s: a refused request gets the page", c.name)
		}
	}
}

// A shop without a demo has no console, because it has no role for operators.
func TestAShopWithoutADemoHasNoConsole(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	p := launchDemo(t, "DEMO=false")
	p.serving()
	if status, _ := p.get("/console/"); status != http.StatusNotFound {
		t.Errorf("/console/ has status %d", status)
	}
}
