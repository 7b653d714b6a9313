package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// served is a running redstartctl console.
type served struct {
	t       *testing.T
	base    string // http://127.0.0.1:port
	opening string // with the key
	client  *http.Client
}

// serving starts redstartctl console in this process, and ends it with the test.
func serving(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"console", "--addr", "127.0.0.1:0", "--timeout", "5s"}, args...), in, io.Discard)
	}()
	lines := bufio.NewScanner(out)
	lines.Scan()
	opening := strings.TrimPrefix(lines.Text(), "Console: ")
	lines.Scan()
	base, _, ok := strings.Cut(opening, "/open?key=")
	if !ok {
		t.Fatalf("the first line is %q", opening)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		stop()
		if code := <-ended; code != exitFine {
			t.Errorf("redstartctl console ended with code %d", code)
		}
	})
	return &served{t, base, opening, client}
}

func (s *served) get(address string) (status int, body string) {
	s.t.Helper()
	res, err := s.client.Get(address)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.read(res)
}

func (s *served) post(path string, form url.Values) (status int, body string) {
	s.t.Helper()
	res, err := s.client.PostForm(s.base+path, form)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.read(res)
}

func (s *served) read(res *http.Response) (int, string) {
	s.t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// No page opens without the key of this start. Without --yes each repair is refused.
func TestConsoleNeedsItsKeyAndYes(t *testing.T) {
	t.Parallel()
	engine := rig.Embedded(t)
	locker, err := lock.New(open(t, engine.URL(), "app"), lock.Options{Process: "holder-1"})
	if err != nil {
		t.Fatal(err)
	}
	held, err := locker.Acquire(t.Context(), "invoice")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release(context.WithoutCancel(t.Context())) // the test breaks it

	for _, yes := range []bool{false, true} {
		args := []string{"--url", engine.URL(), "--namespace", "app"}
		if yes {
			args = append(args, "--yes")
		}
		s := serving(t, args...)
		for _, path := range []string{"/", "/locks", "/open", "/open?key=", "/open?key=guess", "/assets/console.css"} {
			if status, body := s.get(s.base + path); status != http.StatusForbidden || strings.Contains(body, "holder-1") {
				t.Errorf("without the key, %s has status %d", path, status)
			}
		}
		if status, _ := s.get(s.opening); status != http.StatusOK {
			t.Errorf("the printed address has status %d", status)
		}
		if status, body := s.get(s.base + "/locks"); status != http.StatusOK || !strings.Contains(body, "holder-1") {
			t.Errorf("with the key, the page has status %d", status)
		}
		status, body := s.post("/locks/break", url.Values{"name": {"invoice"}})
		if want := http.StatusForbidden; !yes && (status != want || !strings.Contains(body, "read-only")) {
			t.Errorf("a repair without --yes has status %d", status)
		}
		if yes && (status != http.StatusOK || !strings.Contains(body, "The lock was broken.")) {
			t.Errorf("a repair with --yes has status %d: %s", status, body)
		}
	}
}

func TestConsoleRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	engine := rig.Embedded(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:7380", "example.com:80", "127.0.0.1"} {
		var stderr strings.Builder
		code := run(t.Context(), []string{"console", "--url", engine.URL(), "--addr", addr}, io.Discard, &stderr)
		if code != exitFailed && code != exitFindings || !strings.Contains(stderr.String(), "--addr "+addr) {
			t.Errorf("--addr %s ends with code %d: %s", addr, code, stderr.String())
		}
	}
}
