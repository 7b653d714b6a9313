package session_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// The optional interfaces of a ResponseWriter, for all combinations.
type (
	plain   struct{ http.ResponseWriter }
	flusher struct{ hits *[]string }
	hijack  struct{ hits *[]string }
	reader  struct{ hits *[]string }
	pusher  struct{ hits *[]string }
)

func (f flusher) Flush() { *f.hits = append(*f.hits, "flush") }
func (h hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	*h.hits = append(*h.hits, "hijack")
	return nil, nil, nil
}
func (r reader) ReadFrom(src io.Reader) (int64, error) {
	*r.hits = append(*r.hits, "readFrom")
	return io.Copy(io.Discard, src)
}
func (p pusher) Push(string, *http.PushOptions) error { *p.hits = append(*p.hits, "push"); return nil }

// writers returns all sixteen combinations of the four optional interfaces.
func writers(w http.ResponseWriter, hits *[]string) []http.ResponseWriter {
	type W = http.ResponseWriter
	f, h, r, p := flusher{hits}, hijack{hits}, reader{hits}, pusher{hits}
	return []http.ResponseWriter{
		plain{w},
		struct {
			W
			flusher
		}{w, f},
		struct {
			W
			hijack
		}{w, h},
		struct {
			W
			flusher
			hijack
		}{w, f, h},
		struct {
			W
			reader
		}{w, r},
		struct {
			W
			flusher
			reader
		}{w, f, r},
		struct {
			W
			hijack
			reader
		}{w, h, r},
		struct {
			W
			flusher
			hijack
			reader
		}{w, f, h, r},
		struct {
			W
			pusher
		}{w, p},
		struct {
			W
			flusher
			pusher
		}{w, f, p},
		struct {
			W
			hijack
			pusher
		}{w, h, p},
		struct {
			W
			flusher
			hijack
			pusher
		}{w, f, h, p},
		struct {
			W
			reader
			pusher
		}{w, r, p},
		struct {
			W
			flusher
			reader
			pusher
		}{w, f, r, p},
		struct {
			W
			hijack
			reader
			pusher
		}{w, h, r, p},
		struct {
			W
			flusher
			hijack
			reader
			pusher
		}{w, f, h, r, p},
	}
}

// For each of the sixteen combinations, the ResponseWriter of the handler implements exactly the
// interfaces of the server's ResponseWriter, and calls reach the server.
func TestS7_EveryCapabilityPassesThrough(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	var hits []string
	for i, server := range writers(httptest.NewRecorder(), &hits) {
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits = nil
			var want []string
			check := func(name string, outer, inner bool) {
				if outer != inner {
					t.Errorf("%d: %s: handler's writer %v, server's %v", i, name, outer, inner)
				}
				if inner {
					want = append(want, name)
				}
			}
			_, inner := server.(http.Pusher)
			p, outer := w.(http.Pusher)
			check("push", outer, inner)
			if outer {
				ok(t, p.Push("/x", nil))
			}
			_, inner = server.(io.ReaderFrom)
			from, outer := w.(io.ReaderFrom)
			check("readFrom", outer, inner)
			if outer {
				must[int64](t)(from.ReadFrom(strings.NewReader("x")))
			}
			_, inner = server.(http.Flusher)
			f, outer := w.(http.Flusher)
			check("flush", outer, inner)
			if outer {
				f.Flush()
			}
			if err := http.NewResponseController(w).Flush(); inner != (err == nil) || err != nil &&
				!errors.Is(err, http.ErrNotSupported) {
				t.Errorf("%d: ResponseController.Flush: %v", i, err)
			}
			if inner {
				want = append(want, "flush")
			}
			_, inner = server.(http.Hijacker)
			h, outer := w.(http.Hijacker)
			check("hijack", outer, inner)
			if outer {
				_, _, err := h.Hijack()
				ok(t, err)
			}
			if fmt.Sprint(hits) != fmt.Sprint(want) {
				t.Errorf("%d: the server got %v, want %v", i, hits, want)
			}
			if _, outer := w.(io.StringWriter); !outer {
				t.Errorf("%d: no WriteString", i)
			}
		})).ServeHTTP(server, httptest.NewRequest("GET", "/", nil))
	}
}

// unwraps hides everything but Unwrap, as many middlewares do.
type unwraps struct{ inner http.ResponseWriter }

func (u unwraps) Header() http.Header         { return u.inner.Header() }
func (u unwraps) Write(b []byte) (int, error) { return u.inner.Write(b) }
func (u unwraps) WriteHeader(code int)        { u.inner.WriteHeader(code) }
func (u unwraps) Unwrap() http.ResponseWriter { return u.inner }

// On a real server, the cookie is in the header, no matter which call sends the header.
func TestS7_TheCookieIsInTheHeader(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{Cookie: session.CookieOptions{Insecure: true}})
	senders := map[string]func(t *testing.T, w http.ResponseWriter){
		"nothing":     func(t *testing.T, w http.ResponseWriter) {},
		"WriteHeader": func(t *testing.T, w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) },
		"Write":       func(t *testing.T, w http.ResponseWriter) { must[int](t)(w.Write([]byte("x"))) },
		"WriteString": func(t *testing.T, w http.ResponseWriter) { must[int](t)(io.WriteString(w, "x")) },
		"ReadFrom":    func(t *testing.T, w http.ResponseWriter) { must[int64](t)(io.Copy(w, strings.NewReader("x"))) },
		"Flush":       func(t *testing.T, w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":  func(t *testing.T, w http.ResponseWriter) { ok(t, http.NewResponseController(w).Flush()) },
		"redirect": func(t *testing.T, w http.ResponseWriter) {
			http.Redirect(w, httptest.NewRequest("POST", "/", nil), "/x", http.StatusSeeOther)
		},
		"error": func(t *testing.T, w http.ResponseWriter) { http.Error(w, "no", http.StatusBadRequest) },
		"early hints": func(t *testing.T, w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints) // does not send the final header
			w.WriteHeader(http.StatusOK)
		},
		"caching": func(t *testing.T, w http.ResponseWriter) { w.Header().Set("Cache-Control", "public, max-age=600") },
	}
	for _, hidden := range []bool{false, true} {
		for name, send := range senders {
			t.Run(fmt.Sprint(name, " unwrapping ", hidden), func(t *testing.T) {
				t.Parallel()
				handler := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s := m.FromContext(r.Context())
					ok(t, http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)))
					if name == "early hints" {
						w.WriteHeader(http.StatusEarlyHints)
					}
					ok(t, s.Login(r.Context(), "ada"))
					send(t, w)
					if name == "nothing" || name == "caching" {
						return
					}
					// A call that needs another cookie fails now, and the session does not change.
					token := s.Token()
					if err := s.Login(r.Context(), "bob"); !errors.Is(err, session.ErrCookieTooLate) ||
						s.Token() != token || s.User() != "ada" {
						t.Errorf("a login after the header: %v", err)
					}
					if err := s.Renew(r.Context()); !errors.Is(err, session.ErrCookieTooLate) || s.Token() != token {
						t.Errorf("a renewal after the header: %v", err)
					}
					ok(t, s.Update(r.Context(), func(c *cart) error { c.N = 42; return nil })) // needs no cookie
				}))
				if hidden {
					inner := handler
					handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(unwraps{w}, r) })
					if name == "Flush" || name == "controller" {
						send = senders["controller"]
					}
				}
				server := httptest.NewServer(handler)
				defer server.Close()
				client := server.Client()
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				response := must[*http.Response](t)(client.Get(server.URL))
				must[int64](t)(io.Copy(io.Discard, response.Body)) // waits until the handler has returned
				response.Body.Close()
				cookies := response.Cookies()
				if len(cookies) != 1 || len(cookies[0].Value) != 80 {
					t.Fatalf("cookies: %v", cookies)
				}
				if cc := response.Header["Cache-Control"]; len(cc) != 1 || cc[0] != "no-store" {
					t.Errorf("Cache-Control: %q", cc)
				}
				s := must[*sess](t)(m.Load(t.Context(), cookies[0].Value))
				if data := must[cart](t)(s.Data(t.Context())); s.User() != "ada" || name != "nothing" &&
					name != "caching" && data.N != 42 {
					t.Errorf("%q, %+v", s.User(), data)
				}
			})
		}
	}
}

// The first write of a visitor needs a cookie. After the header was sent, it fails and stores
// nothing.
func TestS7_ALateFirstWriteIsAnError(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		s := m.FromContext(r.Context())
		for name, err := range map[string]error{
			"update": s.Update(r.Context(), func(c *cart) error { c.N++; return nil }),
			"flash":  s.Flash(r.Context(), "", "x"),
			"login":  s.Login(r.Context(), "ada"),
		} {
			if !errors.Is(err, session.ErrCookieTooLate) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ok(t, s.Destroy(r.Context()))
		if s.ID() != "" {
			t.Error("a session was created")
		}
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if st := m.Stats(); st.Created != 0 || st.LateCookies != 3 {
		t.Errorf("%+v", st)
	}
	if set := w.Result().Header["Set-Cookie"]; set != nil {
		t.Errorf("%v", set)
	}
}

// A handler that hijacks the connection writes the header itself, so a pending cookie would be
// lost.
func TestS7_HijackWithAPendingCookie(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	server := httptest.NewServer(m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.FromContext(r.Context())
		if r.URL.Path == "/login" {
			ok(t, s.Login(r.Context(), "ada"))
			for name, try := range map[string]func() (net.Conn, *bufio.ReadWriter,
				error){"Hijacker": w.(http.Hijacker).Hijack, "controller": http.NewResponseController(w).Hijack} {
				if _, _, err := try(); !errors.Is(err, session.ErrCookieTooLate) {
					t.Errorf("%s: %v", name, err)
				}
			}
			return
		}
		if r.URL.Path == "/101" {
			ok(t, s.Login(r.Context(), "ada"))
			w.Header().Set("Upgrade", "test")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols) // sends the cookie
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		ok(t, err)
		defer conn.Close()
		if err := s.Login(r.Context(), "ada"); !errors.Is(err, session.ErrCookieTooLate) {
			t.Errorf("after the hijack: %v", err)
		}
		if r.URL.Path == "/" {
			must[int](t)(rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			ok(t, rw.Flush())
		}
	})))
	defer server.Close()
	for _, path := range []string{"/login", "/", "/101"} {
		r := must[*http.Request](t)(http.NewRequest("GET", server.URL+path, nil))
		response := must[*http.Response](t)(server.Client().Do(r))
		response.Body.Close()
		if (len(response.Cookies()) == 1) != (path != "/") {
			t.Errorf("%s: cookies %v", path, response.Cookies())
		}
	}
}
