package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/built"
)

func TestMain(m *testing.M) { rig.Main(m) }

// process is a shop in a separate process.
type process struct {
	*rig.Proc
	t    *testing.T
	said string // standard output
	url  string
}

// launch starts the shop, as a demo unless env disables it, in its own folder. Its environment has
// only the given variables.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(built.Shop(t), args...)
	cmd.Dir, cmd.Env = t.TempDir(), append([]string{"HOME=" + t.TempDir(), "REDIS_COMMAND_TIMEOUT=5s", "DEMO=true"}, env...)
	return &process{Proc: rig.Program(t, cmd), t: t}
}

// serving waits for the line with the address of the shop.
func (p *process) serving() {
	p.t.Helper()
	for p.url == "" {
		line := p.Line(10 * time.Second)
		p.said += line + "\n"
		if url, ok := strings.CutPrefix(line, "Shop:"); ok {
			p.url = strings.TrimSpace(url)
		}
	}
}

// ended waits until the process ends, and returns its exit code and its standard error.
func (p *process) ended() (code int, stderr string) {
	p.t.Helper()
	code = p.Wait(10 * time.Second)
	for line := range p.Lines() {
		p.said += line + "\n"
	}
	return code, p.Stderr()
}

func (p *process) get(path string) (int, string) {
	p.t.Helper()
	res, err := http.Get(p.url + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// logIn logs the sample user in and returns the cookie.
func (p *process) logIn() string {
	p.t.Helper()
	res, err := http.Post(p.url+"/api/login", "application/json",
		strings.NewReader(`{"email":"ada@example.com","password":"redstart"}`))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 1 {
		p.t.Fatalf("the login gets %s and the cookies %v", res.Status, res.Cookies())
	}
	return res.Cookies()[0].Name + "=" + res.Cookies()[0].Value
}

func TestFirstRunWithoutRedis(t *testing.T) {
	t.Parallel()
	built.Shop(t) // before the measured time
	start := time.Now()
	p := launch(t, nil, "--addr", "127.0.0.1:0")
	p.serving()
	status, page := p.get("/")
	took := time.Since(start)
	if status != http.StatusOK || !strings.Contains(page, `data-source="database"`) {
		t.Errorf("the page has status %d:\n%s", status, page)
	}
	t.Logf("the page was there after %v", took)
	if said := p.said; !strings.Contains(said, "embedded") || !strings.Contains(said, "in memory, data is lost at exit") {
		t.Errorf("the output does not name the embedded engine:\n%s", said)
	}
	for _, path := range []string{"/livez", "/readyz", "/api/users/1"} {
		if status, body := p.get(path); status != http.StatusOK {
			t.Errorf("%s has status %d: %s", path, status, body)
		}
	}

	p.Signal(syscall.SIGTERM)
	code, stderr := p.ended()
	if code != 0 || strings.Contains(stderr, "level=ERROR") || strings.Contains(stderr, "level=WARN") {
		t.Errorf("after SIGTERM the exit code is %d, want 0, and no warnings or errors in the log:\n%s", code, stderr)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(p.url, "http://"), time.Second); err == nil {
		t.Error("the port is still open")
	}
}

func TestShutdownLetsARequestFinish(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, "--addr", "127.0.0.1:0")
	p.serving()

	// The signal arrives while the body of a request is sent.
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"name":"Augusta"}`
	fmt.Fprintf(conn, "PATCH /api/users/1 HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n"+
		"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		p.logIn(), len(body))
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // the handler reads the body
		t.Fatalf("%q, %v", line, err)
	}
	p.Signal(syscall.SIGINT)
	rig.Eventually(t, 5*time.Second, "the shop takes no new connections", func() bool {
		second, err := net.DialTimeout("tcp", conn.RemoteAddr().String(), time.Second)
		if err == nil {
			second.Close()
		}
		return err != nil
	})
	fmt.Fprint(conn, body)
	answer, err := io.ReadAll(reader)
	if err != nil || !strings.Contains(string(answer), "200 OK") || !strings.Contains(string(answer), "Augusta") {
		t.Errorf("the request during the shutdown got %q, %v", answer, err)
	}
	if code, _ := p.ended(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestUnreachableRedisIsAnError(t *testing.T) {
	t.Parallel()
	refused := closedPort(t)
	for name, given := range map[string]struct{ env, args []string }{
		"by environment": {[]string{"REDIS_URL=redis://shop:s3cret@" + refused + "/0"}, nil},
		"by flag":        {nil, []string{"--redis-url", "redis://shop:s3cret@" + refused + "/0"}},
		"flag over environment": {[]string{"REDIS_URL=" + rig.Shared(t).URL()},
			[]string{"--redis-url=redis://shop:s3cret@" + refused}},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, given.env, append(given.args, "--addr", "127.0.0.1:0")...)
			code, said := p.ended()
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if !strings.Contains(said, "REDIS_URL") || !strings.Contains(said, refused) {
				t.Errorf("the error contains neither REDIS_URL nor the address:\n%s", said)
			}
			if strings.Contains(said+p.said, "s3cret") {
				t.Errorf("the error contains the password:\n%s", said)
			}
			if strings.Contains(p.said, "Shop:") {
				t.Errorf("the shop started in spite of the error:\n%s", p.said)
			}
			oneLine(t, said)
		})
	}
}

func TestUsesTheConfiguredRedis(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, []string{"REDIS_URL=" + url, "REDIS_NAMESPACE=" + rig.Prefix(t),
				"REDIS_COMMAND_TIMEOUT=5s"}, "--addr", "127.0.0.1:0")
			p.serving()
			if said := p.said; strings.Contains(said, "embedded") || !strings.Contains(said, "127.0.0.1") {
				t.Errorf("the output does not name the Redis:\n%s", said)
			}
			for _, sources := range []string{"database", "cache near"} {
				status, page := p.get("/")
				_, source, _ := strings.Cut(page, `data-source="`)
				source, _, _ = strings.Cut(source, `"`)
				if status != http.StatusOK || source == "" || !strings.Contains(sources, source) {
					t.Errorf("the page has status %d and the source %q, want the %s:\n%s", status, source, sources, page)
				}
			}
		})
	}
}

func TestAPortInUseIsOneLine(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := launch(t, nil, "--addr", taken.Addr().String())
	code, said := p.ended()
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	oneLine(t, said)
	for _, want := range []string{taken.Addr().String(), "in use", "--addr"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q lacks %q", said, want)
		}
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env, args []string
		names     string
	}{
		"redis URL":       {[]string{"REDIS_URL=http://u:s3cret@x"}, nil, "REDIS_URL"},
		"pool size":       {[]string{"REDIS_POOL_SIZE=many"}, nil, "REDIS_POOL_SIZE"},
		"database URL":    {nil, []string{"--database-url", "oracle://u:s3cret@x"}, "DATABASE_URL"},
		"database folder": {[]string{"DATABASE_URL=sqlite:no/such/folder/shop.db"}, nil, "DATABASE_URL"},
		"log level":       {[]string{"LOG_LEVEL=loud"}, nil, "LOG_LEVEL"},
		"unknown flag":    {nil, []string{"--verbose"}, "verbose"},
		"seed":            {[]string{"SEED=perhaps"}, nil, "SEED"},
		"cookies":         {nil, []string{"--cookies", "yes"}, "--cookies"},
		"proxies":         {nil, []string{"--trusted-proxies", "proxy"}, "trusted-proxies"},
		"argument":        {nil, []string{"start"}, "start"},
		"address":         {nil, []string{"--addr", "nowhere"}, "--addr"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, c.env, append([]string{"--addr", "127.0.0.1:0"}, c.args...)...)
			code, said := p.ended()
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			oneLine(t, said)
			if !strings.Contains(said, c.names) || strings.Contains(said, "s3cret") {
				t.Errorf("%q; want an error about %s without the password", said, c.names)
			}
		})
	}
}

func oneLine(t *testing.T, said string) {
	t.Helper()
	if strings.Count(said, "\n") != 1 || strings.Contains(said, "goroutine") {
		t.Errorf("want one line:\n%s", said)
	}
}

// closedPort returns an address without a listener.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
