package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/redstart-go/redstart/service/internal/pgtest"
)

// A web page whose name resolves to this machine (DNS rebinding) can't read profiles or metrics.
func TestDebugAddressRefusesAForeignHost(t *testing.T) {
	t.Parallel()
	shop := launch(t, nil, "--addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0")
	shop.serving()
	_, base, _ := strings.Cut(shop.said, "Profiles:")
	base, _, _ = strings.Cut(strings.TrimSpace(base), "/debug/pprof/")
	for path, about := range map[string]string{"/debug/pprof/goroutine?debug=1": "goroutine profile:",
		"/debug/pprof/cmdline": "shop", "/metrics": "go_goroutines"} {
		for host, want := range map[string]int{"": 200, "localhost:6060": 200, "evil.example": 403,
			"evil.example:6060": 403, "127.0.0.1.evil.example": 403} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := text(t, res)
			if res.StatusCode != want || strings.Contains(body, about) != (want == 200) {
				t.Errorf("%s as %q answers %s, want %d: %.80s", path, host, res.Status, want, body)
			}
		}
	}
	if status, _ := shop.get("/metrics"); status != http.StatusNotFound {
		t.Errorf("the address of the shop serves /metrics with status %d", status)
	}
}

// Without --demo there are no sample users, no public login and no controls, also on a loopback
// address.
func TestSampleDataIsOnlyInADemo(t *testing.T) {
	t.Parallel()
	shop := launch(t, []string{"DEMO="}, "--addr", "127.0.0.1:0", "--seed")
	shop.serving()
	if strings.Contains(shop.said, "ada@example.com") {
		t.Errorf("the output has a login:\n%s", shop.said)
	}
	if res := shop.ask(t, "POST", "/api/login", "",
		`{"email":"ada@example.com","password":"redstart"}`); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the sample login gets %s: %s", res.Status, text(t, res))
	}
	if res := shop.ask(t, "POST", "/demo/redis", "", `{"state":"stop"}`); res.StatusCode != http.StatusNotFound {
		t.Errorf("/demo/redis responds with %s: %s", res.Status, text(t, res))
	}
	if _, page := shop.get("/"); strings.Contains(page, "ada@example.com") || strings.Contains(page, "sample data") {
		t.Errorf("the page has the sample login:\n%s", page)
	}
}

// A demo refuses to listen on an address that other machines can reach, with and without trusted
// proxies.
func TestADemoListensOnlyOnLoopback(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{nil, {"--trusted-proxies", "10.0.0.0/8"}} {
		code, said := launch(t, nil, append([]string{"--demo", "--addr", "0.0.0.0:0"}, more...)...).ended()
		if code != 1 || !strings.Contains(said, "--demo") || !strings.Contains(said, "loopback") {
			t.Errorf("exit code %d, %q", code, said)
		}
		oneLine(t, said)
	}
}

// A database can be given in the form of libpq. Its password is never printed, also if the text is
// malformed.
func TestDatabasePasswordIsNeverPrinted(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{
		"libpq, unreachable": "host=127.0.0.1 port=1 user=shop password=s3cret dbname=shop",
		"libpq, spaced":      "host = '127.0.0.1' port = 1 password = 's3cret' dbname = shop",
		"libpq, a colon":     "password=s3cret:x host=127.0.0.1 port=1",
		"libpq, unreadable":  "host=127.0.0.1 port=s3cret password='s3cret",
		"no scheme":          "shop:s3cret@127.0.0.1/shop",
		"password as scheme": "s3cret:",
		"other scheme":       "mysql://shop:s3cret@127.0.0.1/shop",
		"query":              "postgres://127.0.0.1:1/shop?password=s3cret",
	} {
		p := launch(t, []string{"DATABASE_URL=" + words}, "--addr", "127.0.0.1:0")
		code, said := p.ended()
		if code != 1 || !strings.Contains(said, "DATABASE_URL") || strings.Contains(said+p.said, "s3cret") {
			t.Errorf("%s: exit code %d, %q, %q", name, code, p.said, said)
		}
	}

	cfg, err := pgx.ParseConfig(pgtest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	words := fmt.Sprintf("host=%s port=%d user=%s dbname=%s password=s3cret sslmode=disable", cfg.Host,
		cfg.Port, cfg.User, cfg.Database)
	p := launch(t, []string{"DATABASE_URL=" + words}, "--addr", "127.0.0.1:0")
	p.serving()
	if strings.Contains(p.said, "s3cret") || !strings.Contains(p.said, "Database: postgres://") {
		t.Errorf("the output of the shop is\n%s", p.said)
	}
}

// The database contains password hashes. Other users of the machine can't read its file.
func TestDatabaseFileIsPrivate(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "shop.db")
	p := launch(t, []string{"DATABASE_URL=sqlite:" + file}, "--addr", "127.0.0.1:0")
	p.serving()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(file + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("shop.db%s has the mode %v, want 0600", suffix, mode)
		}
	}
}
