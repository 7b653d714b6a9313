package session_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// A string that is not the token of a live session finds nothing and starts nothing.
func TestS4_OnlyOurTokensCount(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		m := manager(t, client, session.Options{})
		s := must[*sess](t)(m.Create(ctx, "ada", cart{N: 1}, session.Remember()))
		other := must[*sess](t)(m.Create(ctx, "eve", cart{N: 2}))
		token := s.Token()
		hash := base64.RawURLEncoding.EncodeToString([]byte(session.StoredHash(s)))
		for name, bad := range map[string]string{
			"empty":                          "",
			"the id":                         s.ID(),
			"the stored hash":                hash,
			"the stored hash as the secret":  token[:36] + hash + "A",
			"the raw hash as the secret":     token[:36] + session.StoredHash(s) + "AAAAAAAAAAAA",
			"zeros as the secret":            token[:36] + strings.Repeat("A", 44),
			"another's secret":               token[:36] + other.Token()[36:],
			"another's tag":                  other.Token()[:20] + token[20:],
			"another's id":                   token[:20] + other.Token()[20:36] + token[36:],
			"one character of the secret":    token[:79] + flip(token[79]),
			"one character of the id":        token[:35] + flip(token[35]) + token[36:],
			"one character of the tag":       flip(token[0]) + token[1:],
			"one character less":             token[:79],
			"one character more":             token + "A",
			"padding":                        token[:79] + "=",
			"another alphabet":               token[:79] + "+",
			"a line break within":            token[:40] + "\n" + token[41:],
			"a NUL":                          token[:40] + "\x00" + token[41:],
			"braces":                         strings.Repeat("{", 80),
			"wild cards":                     strings.Repeat("*", 80),
			"not UTF-8":                      strings.Repeat("\xff", 80),
			"invented":                       strings.Repeat("A", 80),
			"a megabyte":                     strings.Repeat("A", 1<<20),
			"a remember-me token":            s.RememberToken(),
			"upper case":                     strings.ToUpper(token),
			"its key":                        session.Key(m, token),
			"the secret of the remember-me":  token[:36] + s.RememberToken()[36:],
			"the id of the remember-me":      token[:20] + s.RememberToken()[20:36] + token[36:],
			"its own token with a space":     token + " ",
			"its own token in double quotes": `"` + token + `"`,
		} {
			if got, err := m.Load(ctx, bad); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			if bad != s.RememberToken() {
				if _, err := m.Recall(ctx, bad); !errors.Is(err, session.ErrNotFound) {
					t.Errorf("%s as a remember-me token: %v", name, err)
				}
			}
		}
		if _, err := m.Recall(ctx, token); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a session's token as a remember-me token: %v", err)
		}
		if created := m.Stats().Created; created != 2 {
			t.Errorf("%d sessions were created, want the 2 of the test", created)
		}
		must[*sess](t)(m.Load(ctx, token))
	})
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// A visitor with an unknown token gets a new token with the first write, and Login changes it
// again. The unknown token never works.
func TestS4_AnUnknownTokenIsNeverAdopted(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	ctx := t.Context()
	gone := must[*sess](t)(m.Create(ctx, "", cart{}))
	ok(t, gone.Destroy(ctx))
	planted := must[*sess](t)(m.Create(ctx, "", cart{Note: "the attacker's"}))
	for name, value := range map[string]string{"invented": strings.Repeat("A", 80),
		"of an ended session": gone.Token(), "planted": planted.Token()} {
		var tokens []string
		handler := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			tokens = append(tokens, s.Token())
			ok(t, s.Update(r.Context(), func(c *cart) error { c.N++; return nil }))
			tokens = append(tokens, s.Token())
			ok(t, s.Login(r.Context(), "ada"))
			tokens = append(tokens, s.Token())
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", "__Host-session="+value)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if value != planted.Token() && (tokens[0] != "" || tokens[1] == value) {
			t.Errorf("%s: the token was adopted", name)
		}
		if tokens[2] == tokens[1] || tokens[2] == value || tokens[2] == "" {
			t.Errorf("%s: login did not change the token", name)
		}
		for _, old := range []string{value, tokens[1]} {
			if _, err := m.Load(ctx, old); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: after the login an old token works: %v", name, err)
			}
		}
		if set := w.Result().Cookies(); len(set) != 1 || set[0].Value != tokens[2] {
			t.Errorf("%s: cookies %v", name, set)
		}
	}
}

// With two different tokens in one request, one of them comes from another site. It is unknown
// which one, so both are ignored.
func TestS4_TwoDifferentCookiesAreNone(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a", 80), strings.Repeat("b", 80)
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{[]string{"s=" + a}, a},
		{[]string{"x=1; s=" + a + "; y=2"}, a},
		{[]string{"s=" + a + "; s=" + a}, a},
		{[]string{"s=" + a + "; s=" + b}, ""},
		{[]string{"s=" + a, "s=" + b}, ""},
		{[]string{"s=junk; s=" + b}, b},
		{[]string{"S=" + a}, ""},
		{[]string{"xs=" + a + ";s =" + a}, ""},
		{[]string{"s=\"" + a + "\""}, ""},
		{[]string{";;; ;s=" + a + ";"}, a},
		{nil, ""},
	} {
		if got := session.CookieToken(tt.lines, "s"); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.lines, got, tt.want)
		}
	}
}

func FuzzS4_ParseToken(f *testing.F) {
	f.Add(strings.Repeat("A", 80))
	f.Add(strings.Repeat("-_", 40))
	f.Add(strings.Repeat("A", 79) + "=")
	f.Fuzz(func(t *testing.T, text string) {
		again, ok := session.ParseToken(text)
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		valid := err == nil && len(b) == 60 && len(text) == 80
		if ok != valid || ok && again != text {
			t.Fatalf("%q: ok %v, want %v; again %q", text, ok, valid, again)
		}
	})
}

func FuzzS4_Cookie(f *testing.F) {
	token := strings.Repeat("Ab1-", 20)
	f.Add("__Host-session="+token, "a=b")
	f.Add("a=b; __Host-session="+token+"; c", "__Host-session=x")
	f.Add("__Host-session=\""+token+"\"", ";=;")
	f.Fuzz(func(t *testing.T, first, second string) {
		got := session.CookieToken([]string{first, second}, "__Host-session")
		if got == "" {
			return
		}
		if _, ok := session.ParseToken(got); !ok || !strings.Contains(first+"\n"+second, "__Host-session="+got) {
			t.Fatalf("%q from %q and %q", got, first, second)
		}
		// net/http is stricter: if it finds a cookie, we find the same cookie.
		r := &http.Request{Header: http.Header{"Cookie": {first, second}}}
		for _, c := range r.CookiesNamed("__Host-session") {
			if _, ok := session.ParseToken(c.Value); ok && !c.Quoted && c.Value != got {
				t.Fatalf("net/http has %q, we have %q", c.Value, got)
			}
		}
	})
}

func FuzzS6_StoredBytes(f *testing.F) {
	keys := [][]byte{[]byte(strings.Repeat("k", 32))}
	f.Add([]byte(session.RawRecord("ada", `{"N":1}`, nil)))
	f.Add([]byte(session.RawRecord("ada", `{"N":1}`, keys)))
	f.Add([]byte("2L"))
	f.Add([]byte("3L"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, raw []byte) {
		user, data, ok := session.ParseRecord(string(raw), nil)
		if ok && (user == "") != (raw[2] == 'a') {
			t.Fatalf("user %q, data %q", user, data)
		}
		if _, _, ok := session.ParseRecord(string(raw), keys); ok && string(raw[114]) != "e" {
			t.Fatal("plaintext was accepted as encrypted")
		}
	})
}
