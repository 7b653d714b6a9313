package console_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// raw sends bytes to the server of a console and returns the response.
func (s *site) raw(request string) answer {
	s.t.Helper()
	at, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	conn := must(net.Dial("tcp", at.Host))(s.t)
	defer conn.Close()
	must(0, conn.SetDeadline(time.Now().Add(30*time.Second)))(s.t)
	must(io.WriteString(conn, request))(s.t)
	res := must(http.ReadResponse(bufio.NewReader(conn), nil))(s.t)
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // the status decides
	return answer{res, string(body)}
}

// No spelling of a path reaches a file or a page outside the console, and no response names the
// host that a request claims.
func TestPathsAndHostsOfAttackers(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	for _, path := range []string{
		"/console/../../etc/passwd", "/console/assets/../console.go", "/console/assets/", "/console/assets/..%2fpages%2flayout.html",
		"/console/assets/%2e%2e/pages/layout.html", "/console/%2e%2e/", "//evil.example", "//evil.example/console/",
		"/console//evil.example",
		"/console/locks/..//evil.example", "/console/locks%00", "/console/LOCKS", "/console/console/", "/console/\\evil.example",
		"/console/;/evil.example", "http://evil.example/console/nowhere", "/consolelocks", "/assets/console.js", "/",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "TRACE", "PROPFIND"} {
			got := s.raw(method + " " + path + " HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			target := got.Header.Get("Location")
			switch redirects := got.StatusCode >= 300 && got.StatusCode < 400; {
			case redirects && (!strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, "\\")):
				t.Errorf("%s %s leads to %q", method, path, target)
			case !redirects && got.StatusCode < 400:
				t.Errorf("%s %s has status %d", method, path, got.StatusCode)
			}
			if strings.Contains(got.body, "{{") || strings.Contains(got.body, "package console") {
				t.Errorf("%s %s has a file of the console:\n%s", method, path, got.body)
			}
		}
	}
	for path, status := range map[string]int{"/console": 308, "/console/": 200, "/console/locks": 200} {
		got := s.raw("GET " + path + " HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n")
		if got.StatusCode != status || strings.Contains(got.body+got.Header.Get("Location"), "evil.example") {
			t.Errorf("GET %s has status %d, want %d, and leads to %q", path, got.StatusCode, status, got.Header.Get("Location"))
		}
	}
}

// A form that is large, slow or of another type is refused. The console keeps nothing of it.
func TestFormsOfAttackers(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	hold(t, client, "invoice")
	die(t, client, "shop", "mailer", "users:7")
	s, hasty := serve(t, client, console.Options{}), serve(t, client, console.Options{})
	hasty.con.SetTimes(50*time.Millisecond, 10*time.Second)

	const head = "POST /console/locks/break HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	slow := hasty.raw(head + "Content-Length: 12\r\n\r\nname=i")
	if slow.StatusCode != http.StatusBadRequest || !strings.Contains(slow.body, "too slow") {
		t.Errorf("a form that does not end has status %d: %s", slow.StatusCode, slow.body)
	}
	large := sealed("name", "invoice", "more", strings.Repeat("x", 300<<10))
	if got := s.post("/locks/break", large); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, "256 KiB") {
		t.Errorf("a form of 300 KiB has status %d: %s", got.StatusCode, got.body)
	}
	parts := s.post("/locks/break", sealed("name", "invoice"), "Content-Type", "multipart/form-data; boundary=x")
	if parts.StatusCode < 400 || parts.StatusCode >= 500 {
		t.Errorf("a form of another type has status %d: %s", parts.StatusCode, parts.body)
	}
	if got := s.post("/locks/break?name=invoice", nil); got.StatusCode < 400 || got.StatusCode >= 500 {
		t.Errorf("a form in the address has status %d: %s", got.StatusCode, got.body)
	}
	many := sealed("bus", "shop", "group", "mailer")
	for i := range 1000 {
		many.Add("id", fmt.Sprint(i))
	}
	if got := s.post("/events/drop", many); got.StatusCode != http.StatusConflict || !strings.Contains(got.body, "more than 500 ids") {
		t.Errorf("1,000 ids have status %d: %s", got.StatusCode, got.body)
	}
	s.get("/locks").expect(t, "locks", "holder-1")
	if got := s.post("/locks/break", sealed("name", "invoice")); got.StatusCode != http.StatusSeeOther {
		t.Errorf("a form in time has status %d: %s", got.StatusCode, got.body)
	}
}

// pipes is a listener whose connections have no buffer: a write ends when the other side reads.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A browser that does not read holds no stream, no page and no connection for longer than the write
// timeout.
func TestSlowReadersAreDisconnected(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	s.con.SetTimes(10*time.Second, 50*time.Millisecond)
	listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	closed := make(chan struct{}, 10)
	server := &http.Server{Handler: s.con, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Close(); <-served }()

	for _, path := range []string{"/live?page=/locks", "/locks"} {
		here, there := net.Pipe()
		defer here.Close()
		listener.conns <- there
		must(io.WriteString(here, "GET /console"+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"))(t)
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the connection of a browser that does not read is open", path)
		}
	}
	if streams, topics, _ := s.con.Live(); streams != 0 || topics != 0 {
		t.Errorf("%d streams of %d topics continue", streams, topics)
	}
}

// Pages and repairs that find too much work wait for a short time, and then say so.
func TestWorkHasABudget(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	hold(t, client, "invoice")
	s := serve(t, client, console.Options{})
	giveBack := s.con.TakeTurns()
	page, repair := s.get("/locks"), s.post("/locks/break", sealed("name", "invoice"))
	giveBack()
	if page.StatusCode != http.StatusServiceUnavailable || page.Header.Get("Retry-After") == "" ||
		!strings.Contains(page.body, "try again") {
		t.Errorf("a page without a turn has status %d: %s", page.StatusCode, page.body)
	}
	if repair.StatusCode != http.StatusServiceUnavailable || !strings.Contains(repair.body, "Too many repairs are running") {
		t.Errorf("a repair without a turn has status %d: %s", repair.StatusCode, repair.body)
	}
	s.get("/locks").expect(t, "locks", "holder-1")
	if got := s.post("/locks/break", sealed("name", "invoice")); got.StatusCode != http.StatusSeeOther {
		t.Errorf("a repair with a turn has status %d: %s", got.StatusCode, got.body)
	}
}

// Another site opens no stream in the browser of an operator: it would use up the streams of the
// person.
func TestOtherSitesOpenNoStreams(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	for from, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 404, "": 404} {
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/live?page=/nowhere", nil))(t)
		if from != "" {
			req.Header.Set("Sec-Fetch-Site", from)
		}
		if got := s.do(req); got.StatusCode != want {
			t.Errorf("Sec-Fetch-Site %q: the stream has status %d, want %d", from, got.StatusCode, want)
		}
	}
}

// A link of another site shows no result of a repair that did not happen.
func TestLinksOfOtherSitesShowNoNotice(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	const text = "5 dead letters were dropped."
	for from, want := range map[string]bool{"cross-site": false, "same-site": false, "same-origin": true, "none": true, "": true} {
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/"+query("done", "/events/drop-all", "n", "5"), nil))(t)
		if from != "" {
			req.Header.Set("Sec-Fetch-Site", from)
		}
		if got := s.do(req); strings.Contains(got.body, text) != want {
			t.Errorf("Sec-Fetch-Site %q: the notice is %v, want %v", from, !want, want)
		}
	}
}
