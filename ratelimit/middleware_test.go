package ratelimit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
)

func TestMiddlewareFields(t *testing.T) {
	t.Parallel()
	client := shared(t)
	l := limiter(t, client, ratelimit.Options{Rules: []ratelimit.Rule{
		{Name: "burst", Limit: 2, Window: time.Minute}, {Name: `da"i\ly`, Limit: 1000, Window: 24 * time.Hour},
	}})
	handler := l.Middleware(ratelimit.ClientAddress())(ok)
	get := func(h http.Handler) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w
	}
	for i, want := range []string{`"burst";r=1;t=30, "da\"i\\ly";r=999;t=87`, `"burst";r=0;t=30, "da\"i\\ly";r=998;t=87`} {
		w := get(handler)
		if w.Code != 200 || w.Header().Get("RateLimit") != want || w.Header().Get("Retry-After") != "" {
			t.Errorf("call %d: %d %v, want %s", i, w.Code, w.Header(), want)
		}
		if got, want := w.Header().Get("RateLimit-Policy"), `"burst";q=2;w=60, "da\"i\\ly";q=1000;w=86400`; got != want {
			t.Errorf("RateLimit-Policy: %s, want %s", got, want)
		}
	}
	w := get(handler)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("RateLimit") != `"burst";r=0;t=30, "da\"i\\ly";r=998;t=87` ||
		w.Header().Get("Retry-After") != "30" {
		t.Errorf("refused: %d %v", w.Code, w.Header())
	}
	var problem struct {
		Type, Title string
		Status      int
		Violated    []string `json:"violated-policies"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil ||
		w.Header().Get("Content-Type") != "application/problem+json" ||
		problem.Type != "https://iana.org/assignments/http-problem-types#quota-exceeded" ||
		problem.Status != 429 || fmt.Sprint(problem.Violated) != "[burst]" {
		t.Errorf("body %s: %v", w.Body, err)
	}

	off, err := ratelimit.New(client, "off", ratelimit.Options{Fields: ratelimit.FieldsOff,
		Rules: []ratelimit.Rule{{Limit: 1, Window: 100 * time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 3 {
		w := get(off.Middleware(ratelimit.ClientAddress())(ok))
		if w.Header().Get("RateLimit") != "" || w.Header().Get("RateLimit-Policy") != "" {
			t.Errorf("fields are off: %v", w.Header())
		}
		if w.Code == 429 {
			refused++
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("less than a second is rounded up: %v", w.Header())
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

func TestMiddlewareShadow(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Shadow: true, Rules: []ratelimit.Rule{{Limit: 1, Window: year}}})
	handler := l.Middleware(ratelimit.Header("X-Key"))(ok)
	for range 4 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Key", "k")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != 200 || len(w.Header()) != 0 {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 200 {
		t.Errorf("without a key: %d", w.Code)
	}
	if s := l.Stats(); s.Shadowed != 4 || s.Allowed != 1 || s.Refused+s.RefusedLocally != 3 {
		t.Errorf("%+v", s)
	}
}

// Rules per route, plans per customer, and errors of keys.
func TestMiddlewareFor(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "all", Limit: 100, Window: year}}})
	login, err := l.With(ratelimit.Rule{Name: "login", Limit: 1, Window: year},
		ratelimit.Rule{Name: "all", Limit: 100, Window: year})
	if err != nil {
		t.Fatal(err)
	}
	user := ratelimit.Header("Authorization")
	mux := http.NewServeMux()
	mux.Handle("POST /login", login.Middleware(user)(ok))
	mux.Handle("GET /items/{id}", l.Middleware(ratelimit.Join(user, ratelimit.Route(nil)))(ok))
	call := func(h http.Handler, method, path, who string) int {
		r := httptest.NewRequest(method, path, nil)
		if who != "" {
			r.Header.Set("Authorization", who)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for i, want := range []int{200, 429, 429} {
		if got := call(mux, "POST", "/login", "anna"); got != want {
			t.Errorf("login %d: %d, want %d", i, got, want)
		}
	}
	for i := range 5 {
		if got := call(mux, "GET", fmt.Sprint("/items/", i), "anna"); got != 200 {
			t.Errorf("item %d: %d", i, got)
		}
	}
	if got := call(mux, "GET", "/items/1", ""); got != http.StatusBadRequest {
		t.Errorf("without a key: %d", got)
	}
	chosen := ratelimit.MiddlewareFor(user, func(r *http.Request) *ratelimit.Limiter {
		switch r.URL.Path {
		case "/free":
			return nil
		case "/login":
			return login
		}
		return l
	})(ok)
	for path, want := range map[string]int{"/free": 200, "/login": 429, "/x": 200} {
		if got := call(chosen, "GET", path, "anna"); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	broken := l.Middleware(func(*http.Request) (string, error) { return "", errors.New("boom: secret") })(ok)
	w := httptest.NewRecorder()
	broken.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("a broken key: %d %s", w.Code, w.Body)
	}
}

// The key is the address of the connection, or the address that trusted proxies forwarded, read
// from the right.
func TestR6_ClientAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("2001:db8:ffff::/48"), netip.MustParsePrefix("::ffff:172.16.0.0/108")}
	for _, tt := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"direct", "203.0.113.7:1234", nil, "203.0.113.7"},
		{"spoofed by a client", "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"spoofed through a proxy", "10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"spoofed as a proxy's address", "10.0.0.1:1", []string{"10.9.9.9, 203.0.113.7"}, "203.0.113.7"},
		{"a chain of proxies", "10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7, 10.0.0.3, 10.0.0.2"}, "203.0.113.7"},
		{"several fields", "10.0.0.1:1", []string{"198.51.100.1", "203.0.113.7, 10.0.0.3", "10.0.0.2"}, "203.0.113.7"},
		{"a field of the client's own before", "10.0.0.1:1", []string{"10.0.0.9", "203.0.113.7"}, "203.0.113.7"},
		{"proxies alone", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no field", "10.0.0.1:1", nil, "10.0.0.1"},
		{"empty field", "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"empty elements", "10.0.0.1:1", []string{"203.0.113.7, ,10.0.0.2,,"}, "203.0.113.7"},
		{"an empty field behind", "10.0.0.1:1", []string{"203.0.113.7", "", " ,"}, "203.0.113.7"},
		{"NAT64", "[64:ff9b::203.0.113.7]:1", nil, "203.0.113.7"},
		{"NAT64 in a field", "10.0.0.1:1", []string{"64:ff9b::cb00:7107"}, "203.0.113.7"},
		{"NAT64 of a proxy is no proxy", "[64:ff9b::10.0.0.1]:1", []string{"198.51.100.1"}, "10.0.0.1"},
		{"next to NAT64", "[64:ff9b:1::1]:1", nil, "64:ff9b:1::/64"},
		{"garbage", "10.0.0.1:1", []string{"203.0.113.7, <script>"}, "10.0.0.1"},
		{"garbage behind a hop", "10.0.0.1:1", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		{"with ports", "10.0.0.1:1", []string{"203.0.113.7:55, 10.0.0.2:80"}, "203.0.113.7"},
		{"spaces and tabs", "10.0.0.1:1", []string{" \t203.0.113.7\t, 10.0.0.2 "}, "203.0.113.7"},
		{"mapped connection", "[::ffff:203.0.113.7]:1", nil, "203.0.113.7"},
		{"mapped proxy", "[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"mapped prefix", "172.16.3.4:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"IPv6", "[2001:db8:1:2:3:4:5:6]:1", nil, "2001:db8:1:2::/64"},
		{"IPv6, another host of the customer", "[2001:db8:1:2:ffff::1]:1", nil, "2001:db8:1:2::/64"},
		{"IPv6 with a zone", "[fe80::1%eth0]:1", nil, "fe80::/64"},
		{"IPv6 proxy", "[2001:db8:ffff::1]:1", []string{"[2001:db8:1:2::9]:443"}, "2001:db8:1:2::/64"},
		{"IPv6 in brackets", "[2001:db8:ffff::1]:1", []string{"[2001:db8:1:2::9]"}, "2001:db8:1:2::/64"},
	} {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{}}
		for _, f := range tt.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		if got, err := ratelimit.ClientAddress(trusted...)(r); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
	r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {"203.0.113.7"},
		"X-Real-Ip": {"203.0.113.8"}, "Forwarded": {"for=203.0.113.9"}}}
	if got, err := ratelimit.ClientAddress()(r); err != nil || got != "10.0.0.1" {
		t.Errorf("without trusted proxies: %q, %v", got, err)
	}
	for _, remote := range []string{"", "@", "/run/socket", "localhost:80"} {
		if got, err := ratelimit.ClientAddress()(&http.Request{RemoteAddr: remote}); !errors.Is(err, ratelimit.ErrNoKey) {
			t.Errorf("%q: %q, %v: unknown clients must not share a count", remote, got, err)
		}
	}
}

// A front end on a unix socket counts as 127.0.0.1: it is trusted if 127.0.0.1 is trusted.
func TestR6_UnixSocket(t *testing.T) {
	t.Parallel()
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/shop.sock", Net: "unix"})
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for _, tt := range []struct {
		name      string
		trusted   []netip.Prefix
		forwarded []string
		want      string
	}{
		{"trusted", []netip.Prefix{loopback}, []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"IPv6", []netip.Prefix{loopback}, []string{"2001:db8:1:2::9"}, "2001:db8:1:2::/64"},
		{"no field", []netip.Prefix{loopback}, nil, ""},
		{"garbage", []netip.Prefix{loopback}, []string{"unknown"}, ""},
		{"not trusted", nil, []string{"203.0.113.7"}, ""},
		{"other proxies are trusted", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"203.0.113.7"}, ""},
	} {
		for _, remote := range []string{"", "@", "/tmp/client"} {
			r := (&http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}).WithContext(ctx)
			got, err := ratelimit.ClientAddress(tt.trusted...)(r)
			if got != tt.want || errors.Is(err, ratelimit.ErrNoKey) != (tt.want == "") {
				t.Errorf("%s, %q: %q, %v; want %q", tt.name, remote, got, err, tt.want)
			}
		}
	}
}

// The hash of a long value never equals another user's value.
func TestByNeverCollides(t *testing.T) {
	t.Parallel()
	key := func(value string) string {
		k, err := ratelimit.By(func(*http.Request) string { return value })(httptest.NewRequest("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	long := key(strings.Repeat("u", 200))
	if key(long) == long {
		t.Errorf("the user named %q shares the count of one with a long name", long)
	}
	if k := key("user:42"); k != "user:42" {
		t.Errorf("a short name is stored as %q", k)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/items/7", nil)
	r.Header.Set("X-Key", "secret")
	fixed := func(s string) ratelimit.KeyFunc { return ratelimit.By(func(*http.Request) string { return s }) }
	key := func(f ratelimit.KeyFunc) string {
		k, err := f(r)
		if err != nil {
			return err.Error()
		}
		return k
	}
	if k := key(ratelimit.Header("x-key")); strings.Contains(k, "secret") || len(k) != 24 {
		t.Errorf("a header's key is a hash: %s", k)
	}
	if k := key(fixed(strings.Repeat("u", 1000))); len(k) > 128 {
		t.Errorf("a long user: %d bytes", len(k))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /items/{id}", ok)
	if k := key(ratelimit.Route(mux)); k != "GET /items/{id}" {
		t.Errorf("route: %s", k)
	}
	if k := key(ratelimit.Route(nil)); k != "(none)" {
		t.Errorf("no route: %s", k)
	}
	if k := key(ratelimit.FirstOf(fixed(""), fixed("b"))); k != "1=b" {
		t.Errorf("first of: %s", k)
	}
	for _, f := range []ratelimit.KeyFunc{fixed(""), ratelimit.Header("None"), ratelimit.FirstOf(fixed("")),
		ratelimit.FirstOf(), ratelimit.Join(fixed("a"), fixed(""))} {
		if _, err := f(r); !errors.Is(err, ratelimit.ErrNoKey) {
			t.Errorf("%v, want ErrNoKey", err)
		}
	}
	seen := map[string]bool{}
	for _, parts := range [][]string{{"a", "b"}, {"ab"}, {"a|1=b"}, {"a", "b", "c"}, {"a", "b|1=c"}, {"1=a", "b"}} {
		var fs []ratelimit.KeyFunc
		for _, p := range parts {
			fs = append(fs, fixed(p))
		}
		k := key(ratelimit.Join(fs...))
		if seen[k] {
			t.Errorf("%q joins to %s as another does", parts, k)
		}
		seen[k] = true
	}
}

// For any fields, the key is canonical: the address of the connection, or one that a trusted proxy
// can have seen.
func FuzzR6_ForwardedFor(f *testing.F) {
	for _, s := range []string{"", "203.0.113.7", "198.51.100.1, 10.0.0.2", "[2001:db8::1]:80,\t10.1.2.3",
		"::ffff:1.2.3.4", "1.2.3.4:99999", "fe80::1%eth0", ",,,", "10.0.0.2,", "[::1", "0x7f.1"} {
		f.Add("10.0.0.1:1", s, "")
		f.Add("203.0.113.9:1", s, s)
	}
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, remote, one, two string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {one, two}}}
		key, err := ratelimit.ClientAddress(trusted)(r)
		if err != nil {
			if !errors.Is(err, ratelimit.ErrNoKey) {
				t.Fatal(err)
			}
			return
		}
		if p, err := netip.ParsePrefix(key); err == nil {
			if p.Bits() != 64 || p.Masked() != p || p.Addr().Is4In6() {
				t.Fatalf("%q is not a canonical /64", key)
			}
		} else if a, err := netip.ParseAddr(key); err != nil || !a.Is4() || a.String() != key {
			t.Fatalf("%q is not an address", key)
		}
		direct, err := ratelimit.ClientAddress()(&http.Request{RemoteAddr: remote})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := netip.ParseAddr(direct); (err != nil || !trusted.Contains(a)) && key != direct {
			t.Fatalf("%q, which is no proxy, was believed: %q", remote, key)
		}
	})
}

// Any reply is parsed or refused without a panic, and parsed values are in range.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"+5 5", "-1 2 3", "+", "", "-99999999999999999999", "+1 2 3 4 5 6", "+ 1", "+0 0 1 "} {
		for a := range uint8(4) {
			f.Add(a, s, int64(1))
		}
	}
	rules := []ratelimit.Rule{{Name: "a", Limit: 10, Window: time.Second}, {Name: "b", Limit: 20, Window: time.Minute}}
	f.Fuzz(func(t *testing.T, a uint8, reply string, n int64) {
		n = 1 + (n&0x7fffffff)%10
		r, err := ratelimit.NewVirtualTime(ratelimit.Algorithm(a%4), rules...).ReadText(reply, n)
		if err == nil && (r.Remaining < 0 || r.Remaining > 20 || r.RetryAfter < 0 || r.ResetAfter < 0 ||
			r.Allowed != (r.RetryAfter == 0)) {
			t.Fatalf("%q: %+v", reply, r)
		}
	})
}
