package session_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/session"
)

func key(c string) []byte { return []byte(strings.Repeat(c, 32)) }

// dump returns all keys and values of a server.
func dump(t testing.TB, server *rig.Server) string {
	t.Helper()
	var all strings.Builder
	for _, k := range strings.Fields(server.CLI("KEYS", "*")) {
		all.WriteString(k + "\n")
		switch server.CLI("TYPE", k) {
		case "string":
			all.WriteString(server.CLI("GET", k))
		case "zset":
			all.WriteString(server.CLI("ZRANGE", k, "0", "-1"))
		default:
			t.Fatalf("a key of type %s", server.CLI("TYPE", k))
		}
	}
	return all.String()
}

// The stored bytes contain no form of a secret and, with EncryptionKeys, no plaintext.
func TestS6_ADumpContainsNoCookie(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	client := open(t, server.URL(), "t")
	const user, note, agent, flash = "ada@example.org", "the-secret-note", "the-user-agent", "the-flash-message"
	for _, keys := range [][][]byte{nil, {key("k")}} {
		m := manager(t, client, session.Options{EncryptionKeys: keys, UserKey: key("u")})
		s := must[*sess](t)(m.Create(ctx, "", cart{Note: note}))
		tokens := []string{s.Token()}
		ok(t, s.Login(ctx, user, session.Device(agent, "192.0.2.7"), session.Remember()))
		tokens = append(tokens, s.Token(), s.RememberToken())
		ok(t, s.Flash(ctx, "", flash))
		ok(t, s.Renew(ctx))
		tokens = append(tokens, s.Token())
		all := dump(t, server)
		recalled := must[*sess](t)(m.Recall(ctx, tokens[2]))
		tokens = append(tokens, recalled.Token(), recalled.RememberToken())
		all += dump(t, server)
		for i, token := range tokens {
			raw, err := base64.RawURLEncoding.DecodeString(token)
			ok(t, err)
			for form, secret := range map[string]string{
				"token": token, "secret": token[36:], "start": token[36:56], "end": token[60:],
				"raw": string(raw[27:]), "hex": hex.EncodeToString(raw[27:]),
				"base64": base64.StdEncoding.EncodeToString(raw[27:]),
			} {
				if strings.Contains(all, secret) {
					t.Errorf("the %s of token %d is in the dump", form, i)
				}
			}
		}
		for _, plain := range []string{user, note, agent, flash, "192.0.2.7"} {
			if found := strings.Contains(all, plain); found == (keys != nil) {
				t.Errorf("encrypted %v: plaintext %q found: %v", keys != nil, plain, found)
			}
		}
		server.CLI("FLUSHALL")
	}
}

// The first key encrypts, all keys decrypt. An unreadable session is not found, and is counted.
func TestS6_KeysRotate(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		with := func(keys ...string) *mgr {
			opts := session.Options{}
			for _, k := range keys {
				opts.EncryptionKeys = append(opts.EncryptionKeys, key(k))
			}
			return manager(t, client, opts)
		}
		one, both, two := with("1"), with("2", "1"), with("2")
		s := must[*sess](t)(one.Create(ctx, "ada", cart{N: 1}, session.Remember()))
		if _, err := two.Load(ctx, s.Token()); !errors.Is(err, session.ErrUnreadable) {
			t.Fatalf("without its key: %v", err)
		}
		if st := two.Stats(); st.Unreadable != 1 || st.Misses != 1 {
			t.Errorf("%+v", st)
		}
		in := must[*sess](t)(both.Load(ctx, s.Token()))
		ok(t, in.Update(ctx, func(c *cart) error { c.N++; return nil }))
		if _, err := one.Load(ctx, s.Token()); !errors.Is(err, session.ErrUnreadable) {
			t.Errorf("written with the new key, read without: %v", err)
		}
		data := must[cart](t)(must[*sess](t)(two.Load(ctx, s.Token())).Data(ctx))
		if data.N != 2 {
			t.Errorf("%+v", data)
		}
		recalled := must[*sess](t)(both.Recall(ctx, s.RememberToken()))
		must[*sess](t)(two.Recall(ctx, recalled.RememberToken()))

		// Plaintext from before the first key is accepted only with AllowPlaintext.
		plain := must[*sess](t)(with().Create(ctx, "eve", cart{N: 9}))
		if _, err := one.Load(ctx, plain.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("plaintext is accepted as encrypted: %v", err)
		}
		migrating := manager(t, client, session.Options{EncryptionKeys: [][]byte{key("1")}, AllowPlaintext: true})
		moved := must[*sess](t)(migrating.Load(ctx, plain.Token()))
		ok(t, moved.Update(ctx, func(c *cart) error { c.N++; return nil }))
		must[*sess](t)(one.Load(ctx, plain.Token()))
		// Revoke needs no key.
		ok(t, two.Revoke(ctx, "eve", plain.ID()))
	})
}

// An attacker with write access to the server but without a key moves bytes between records.
func TestS6_ARecordIsBoundToItsKey(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		c := clientcore.Of(client)
		get := func(key string) string {
			msg, err := c.Do(ctx, core.Read("GET", key))
			ok(t, err)
			return must[string](t)(msg.ToString())
		}
		set := func(key, value string) {
			_, err := c.Do(ctx, core.Write("SET", key, value, "PX", "60000"))
			ok(t, err)
		}
		m := manager(t, client, session.Options{EncryptionKeys: [][]byte{key("k")}})
		ada := must[*sess](t)(m.Create(ctx, "ada", cart{Note: "ada's"}))
		eve := must[*sess](t)(m.Create(ctx, "eve", cart{Note: "eve's"}))
		adaRaw, eveRaw := get(session.Key(m, ada.Token())), get(session.Key(m, eve.Token()))
		const head, hashAt = 114, 82
		for name, forged := range map[string]string{
			"the whole record of another":                adaRaw,
			"the body of another":                        eveRaw[:head] + adaRaw[head:],
			"another's record under one's own secret":    adaRaw[:hashAt] + eveRaw[hashAt:head] + adaRaw[head:],
			"another version":                            eveRaw[:3] + "01234567" + eveRaw[11:],
			"one bit of the body":                        eveRaw[:len(eveRaw)-1] + string(eveRaw[len(eveRaw)-1]^1),
			"the header alone":                           eveRaw[:head],
			"half of it":                                 eveRaw[:len(eveRaw)/2],
			"nothing":                                    "",
			"another release's format":                   "3" + eveRaw[1:],
			"another release's, shorter than our header": "3",
			"a remember-me token's":                      eveRaw[:2] + "r" + eveRaw[3:],
			"letters for numbers":                        eveRaw[:20] + "x" + eveRaw[21:],
			"a later deadline":                           eveRaw[:40] + "9999999999999" + eveRaw[53:],
			"no deadline":                                eveRaw[:40] + "0000000000000" + eveRaw[53:],
			"a longer idle time":                         eveRaw[:53] + "0099999999999" + eveRaw[66:],
			"another link":                               eveRaw[:66] + "AAAAAAAAAAAAAAAA" + eveRaw[82:],
			"a plain body":                               eveRaw[:head] + "p" + "\x03ada\x00\x00\x00\x00",
		} {
			set(session.Key(m, eve.Token()), forged)
			before := m.Stats()
			s, err := m.Load(ctx, eve.Token())
			want := session.ErrNotFound
			if strings.HasPrefix(name, "another release's") {
				want = session.ErrUnreadable
			}
			if !errors.Is(err, want) {
				t.Fatalf("%s: %v, %v", name, s, err)
			}
			after := m.Stats()
			if after.Unreadable+after.Foreign == before.Unreadable+before.Foreign && name != "a remember-me token's" {
				t.Errorf("%s is not counted: %+v", name, after)
			}
			if name == "another release's format" && get(session.Key(m, eve.Token())) != forged {
				t.Error("the record of another release was changed")
			}
			// A request of eve in flight may write the data that it had read over the forged
			// record.
			if err := eve.Update(ctx, func(c *cart) error { c.N++; return nil }); err != nil &&
				!errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrUnreadable) {
				t.Errorf("%s: an update: %v", name, err)
			}
			if s, err := m.Load(ctx, eve.Token()); err == nil {
				if data := must[cart](t)(s.Data(ctx)); data.Note != "eve's" || s.User() != "eve" {
					t.Errorf("%s: after an update the user is %q, the data %+v", name, s.User(), data)
				}
			}
			set(session.Key(m, eve.Token()), eveRaw)
			eve = must[*sess](t)(m.Load(ctx, eve.Token()))
		}
		if data := must[cart](t)(eve.Data(ctx)); data.Note != "eve's" {
			t.Errorf("%+v", data)
		}
		// A key of another type is not found, without an error.
		_, err := c.Do(ctx, core.Write("DEL", session.Key(m, eve.Token())))
		ok(t, err)
		_, err = c.Do(ctx, core.Write("ZADD", session.Key(m, eve.Token()), "1", "x"))
		ok(t, err)
		if _, err := m.Load(ctx, eve.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("another type: %v", err)
		}
	})
}

// No error and no log record contains a secret.
func TestS6_TokensStayOutOfLogsAndErrors(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	var log safeBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client, err := redstart.Open(t.Context(), redstart.Config{URL: proxy.URL(), Namespace: "t",
		Logger: logger, Observer: observe.Slog(logger)})
	ok(t, err)
	t.Cleanup(func() { ok(t, client.Close()) })
	m := manager(t, client, session.Options{MaxSize: 1000})
	ctx := t.Context()
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
	secrets := []string{s.Token()[36:], s.RememberToken()[36:]}
	everything := func() {
		_, err1 := m.Load(ctx, s.Token())
		_, err2 := m.Recall(ctx, s.RememberToken())
		_, err3 := m.Load(ctx, s.Token()+"x")
		_, _, err4 := s.Watch(ctx)
		for _, err := range []error{err1, err2, err3, err4,
			s.Update(ctx, func(c *cart) error { c.Note = strings.Repeat("x", 2000); return nil }),
			s.Update(ctx, func(c *cart) error { c.N++; return nil }),
			s.Renew(ctx), s.Login(ctx, "bob"), m.Revoke(ctx, "ada", s.Token()), s.Destroy(ctx)} {
			if err != nil {
				fmt.Fprintln(&log, err.Error())
			}
		}
		if token := s.Token(); token != "" {
			secrets = append(secrets, token[36:])
		}
	}
	proxy.Refuse()
	proxy.Reset()
	everything()
	ok(t, proxy.Accept())
	rig.Eventually(t, 10*1e9, "the client is back", func() bool { return client.Ping(ctx) == nil })
	everything()
	text := log.String()
	if !strings.Contains(text, "session: ") {
		t.Fatalf("the calls logged no error:\n%s", text)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in the log:\n%s", text)
		}
	}
	// Printed values contain no secret either.
	s = must[*sess](t)(m.Create(ctx, "ada", cart{}))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, s); strings.Contains(text, s.Token()[36:]) {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "session", s)
	if strings.Contains(log.String(), s.Token()[36:]) {
		t.Error("slog shows the secret")
	}
}

// safeBuffer is a bytes.Buffer that is safe for concurrent use.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
