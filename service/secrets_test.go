package main_test

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/pgtest"
)

// The output, the log at debug level and the responses of a shop contain none of its passwords,
// also during an outage.
func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	const redisSecret, databaseSecret = "r3dis-s3cret", "p0stgres-s3cret"
	server := rig.Standalone(t, "--requirepass", redisSecret)
	database, err := url.Parse(pgtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	query := database.Query()
	query.Set("password", databaseSecret)
	database.RawQuery = query.Encode()
	p := launch(t, []string{"REDIS_URL=" + server.URL(), "DATABASE_URL=" + database.String(),
		"LOG_LEVEL=DEBUG", "REDIS_COMMAND_TIMEOUT=500ms"},
		"--addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0")
	p.serving()

	var answers strings.Builder
	ask := func(shop *process, method, path, cookie, body string) int {
		res := shop.ask(t, method, path, cookie, body)
		for name, values := range res.Header {
			if name != "Set-Cookie" {
				answers.WriteString(name + ": " + strings.Join(values, ", ") + "\n")
			}
		}
		answers.WriteString(text(t, res))
		return res.StatusCode
	}
	cookie := p.logIn()
	_, profiles, _ := strings.Cut(p.said, "Profiles:")
	profiles, _, _ = strings.Cut(strings.TrimSpace(profiles), "\n")
	everything := func() {
		for _, path := range []string{"/", "/livez", "/readyz", "/api/me", "/api/users/1", "/api/orders",
			"/api/stats", "/api/devices", "/nowhere"} {
			ask(p, http.MethodGet, path, cookie, "")
		}
		ask(p, http.MethodPost, "/api/login", "", `{"email":"ada@example.com","password":"wrong-s3cret"}`)
		ask(p, http.MethodPost, "/api/orders", cookie, `{"item":"engine","amount_cents":1}`)
		for _, path := range []string{"", "cmdline", "goroutine?debug=1", "heap?debug=1", "../../metrics"} {
			ask(&process{t: t, url: profiles}, http.MethodGet, path, "", "")
		}
	}
	everything()
	server.Kill()
	everything()
	server.Restart()
	rig.Eventually(t, 10*time.Second, "the shop is ready again",
		func() bool { return ask(p, http.MethodGet, "/readyz", "", "") == http.StatusOK })
	everything()
	p.Signal(syscall.SIGTERM)
	code, stderr := p.ended()
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}

	for what, text := range map[string]string{"stdout": p.said, "the log": stderr, "an answer": answers.String()} {
		if text == "" {
			t.Errorf("%s is empty", what)
		}
		_, token, _ := strings.Cut(cookie, "=")
		for _, secret := range []string{redisSecret, databaseSecret, "wrong-s3cret", token} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s contains a secret: %q", what, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

// The help has every flag of the shop with its variable.
func TestHelpNamesEverySetting(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, "--help")
	if code, _ := p.ended(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	source, err := os.ReadFile("config.go")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`flags\.\w*Var\(&cfg\.\w+, "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(flags) < 10 {
		t.Fatalf("found %d flags in config.go", len(flags))
	}
	for _, flag := range flags {
		variable := "[" + strings.ToUpper(strings.ReplaceAll(flag[1], "-", "_")) + "]"
		if !regexp.MustCompile(`(?m)^  --`+flag[1]+`[ =]`).MatchString(p.said) || !strings.Contains(p.said, variable) {
			t.Errorf("the help lacks --%s or %s:\n%s", flag[1], variable, p.said)
		}
	}
}
