package console_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) { rig.Main(m) }

func open(t testing.TB, url, namespace string, changes ...func(*redstart.Config)) *redstart.Client {
	t.Helper()
	return rigclient.Open(t, url, namespace, changes...)
}

// as authorizes every request with a role.
func as(role console.Role) func(*http.Request) (console.Role, error) {
	return func(*http.Request) (console.Role, error) { return role, nil }
}

// site is a console that a test server serves.
type site struct {
	t   testing.TB
	url string // with the prefix
	con *console.Console
}

// serve starts a console of a client at /console.
func serve(t testing.TB, client *redstart.Client, opts console.Options) *site {
	t.Helper()
	opts.Prefix = "/console"
	if opts.Authorize == nil {
		opts.Authorize = as(console.Operator)
	}
	c, err := console.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return &site{t, server.URL + "/console", c}
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

// get follows no redirect.
func (s *site) get(path string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(req)
}

// post submits a form, as the browser of a visitor of this site does.
func (s *site) post(path string, form url.Values, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return s.do(req)
}

func (s *site) do(req *http.Request) answer {
	s.t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res, string(body)}
}
