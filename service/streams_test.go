package main_test

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	shop "github.com/redstart-go/redstart/service"
)

func TestShutdownWaitsForNoStreamAndNoTraffic(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, "--addr", "127.0.0.1:0")
	p.serving()
	for _, want := range []string{"embedded", "sqlite:shop.db", "ada@example.com", "redstart", "Ctrl-C"} {
		if !strings.Contains(p.said, want) {
			t.Errorf("the first lines lack %q:\n%s", want, p.said)
		}
	}
	cookie := p.logIn()
	ended := make(chan error, 2)
	for _, path := range []string{"/demo/live", "/api/notifications/stream"} {
		res := p.send(t, "GET", path, cookie, "")
		go func() {
			defer res.Body.Close()
			_, err := io.Copy(io.Discard, res.Body)
			ended <- err
		}()
	}
	p.send(t, "POST", "/demo/traffic", cookie, `{"users": 20, "seconds": 120}`).Body.Close()

	watch := rig.Watch(t)
	p.Signal(syscall.SIGINT)
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("a stream was cut off: %v", err)
		}
	}
	code, stderr := p.ended()
	if code != 0 || strings.Contains(stderr, "still ran") {
		t.Errorf("exit code %d, want 0:\n%s", code, stderr)
	}
	if took := watch.Took(); took >= shop.DrainTimeout { // a request that delays the shutdown takes all of it
		t.Errorf("the shutdown took %v", took)
	}
	http.DefaultClient.CloseIdleConnections()
}

// send sends a request with a cookie and checks that it succeeds.
func (p *process) send(t *testing.T, method, path, cookie, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s gets %s", method, path, res.Status)
	}
	return res
}
