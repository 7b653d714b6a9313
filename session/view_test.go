package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/sessionview"
	"github.com/redstart-go/redstart/session"
)

func view(t testing.TB, client *redstart.Client, k sessionview.Keys) sessionview.Manager {
	t.Helper()
	return must[sessionview.Manager](t)(sessionview.Open(clientcore.Of(client), "web", k))
}

func TestViewListsAndRevokesSessionsOfAUser(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := open(t, rig.SharedCluster(t).URL(), rig.Prefix(t))
	m := manager(t, client, session.Options{})
	var all []*sess
	for i := range 5 {
		opts := []session.CreateOption{session.Device(fmt.Sprint("browser ", i), "192.0.2.1")}
		if i == 1 {
			opts = append(opts, session.Remember())
		}
		all = append(all, must[*sess](t)(m.Create(ctx, "ada", cart{N: i}, opts...)))
	}
	other := must[*sess](t)(m.Create(ctx, "eve", cart{}))

	v := view(t, client, sessionview.Keys{})
	var found []sessionview.Record
	for offset, more := 0, true; more; {
		page := must[sessionview.Page](t)(v.OfUser(ctx, "ada", offset, 2))
		found = append(found, page.Records...)
		offset, more = page.Next, page.Next > 0
	}
	var ids []string
	for _, r := range found {
		if r.Kind == sessionview.Session {
			ids = append(ids, r.ID)
		}
		if r.Kind == sessionview.Session && (r.Problem != "" || !strings.HasPrefix(r.UserAgent, "browser ") || len(r.Data) == 0 ||
			r.Codec != 1 || r.Encrypted) {
			t.Errorf("a session: %+v", r)
		}
		if text := fmt.Sprintf("%+v", r); slices.ContainsFunc(all, func(s *sess) bool { return strings.Contains(text, s.Token()[36:]) }) {
			t.Errorf("a record shows a secret: %s", text)
		}
	}
	for _, s := range all {
		if !slices.Contains(ids, s.ID()) {
			t.Errorf("the session %s is not listed", s.ID())
		}
	}
	if len(found) != 6 {
		t.Errorf("%d records, want 5 sessions and a remember-me token", len(found))
	}

	for _, want := range []bool{true, false} {
		if ended, err := v.Revoke(ctx, "ada", all[0].ID()); err != nil || ended != want {
			t.Errorf("revoke: %v, %v, want %v", ended, err, want)
		}
	}
	if _, err := m.Load(ctx, all[0].Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a revoked session: %v", err)
	}
	if n, err := v.RevokeAll(ctx, "ada"); err != nil || n != 4 {
		t.Errorf("revoked %d, %v, want 4", n, err)
	}
	if _, err := v.Find(ctx, "ada", all[1].ID()); !errors.Is(err, sessionview.ErrNotFound) {
		t.Errorf("find of a revoked session: %v", err)
	}
	must[*sess](t)(m.Load(ctx, other.Token()))
}

// A view without the key shows that a session exists, and nothing of its content.
func TestViewNeedsTheKeyForTheContent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	key, user := []byte(strings.Repeat("k", 32)), []byte(strings.Repeat("u", 16))
	m := manager(t, client, session.Options{EncryptionKeys: [][]byte{key}, UserKey: user})
	s := must[*sess](t)(m.Create(ctx, "ada", cart{Note: "secret"}, session.Device("browser", "192.0.2.1")))

	r := must[sessionview.Record](t)(view(t, client, sessionview.Keys{User: user}).Find(ctx, "ada", s.ID()))
	if !r.Encrypted || r.Problem == "" || r.Data != nil || r.UserAgent != "" || r.Expires.IsZero() {
		t.Errorf("without the key: %+v", r)
	}
	r = must[sessionview.Record](t)(view(t, client, sessionview.Keys{Encryption: [][]byte{key}, User: user}).Find(ctx, "ada", s.ID()))
	if r.Problem != "" || r.UserAgent != "browser" || !strings.Contains(string(r.Data), "secret") {
		t.Errorf("with the key: %+v", r)
	}
	if _, err := view(t, client, sessionview.Keys{}).Find(ctx, "ada", s.ID()); !errors.Is(err, sessionview.ErrNotFound) {
		t.Errorf("without the user key: %v", err)
	}
}

// Records of other releases and programs are shown as such, and never fail a list or a count.
func TestViewOfForeignRecords(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	m := manager(t, client, session.Options{})
	conn := rig.Shared(t).Conn(t)
	values := []string{"", "2", "3L" + strings.Repeat("x", 200), "2L" + strings.Repeat("\x00", 200), "2M" + strings.Repeat("0", 200)}
	for _, value := range values {
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
		conn.CLI("SET", session.Key(m, s.Token()), value)
	}
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
	key := session.Key(m, s.Token())
	conn.CLI("DEL", key)
	conn.CLI("RPUSH", key, "a list")
	must[*sess](t)(m.Create(ctx, "", cart{}))

	v := view(t, client, sessionview.Keys{})
	page := must[sessionview.Page](t)(v.OfUser(ctx, "ada", 0, 100))
	if len(page.Records) != len(values)+1 {
		t.Errorf("%d records, want %d", len(page.Records), len(values)+1)
	}
	for _, r := range page.Records {
		if r.Problem == "" || r.Data != nil {
			t.Errorf("a foreign record: %+v", r)
		}
	}

	var keys []string
	ok(t, clientcore.Of(client).Scan(ctx, "*", 1000, func(some []string) error { keys = append(keys, some...); return nil }))
	counts := must[sessionview.Counts](t)(v.Count(ctx, append(keys, "other", "{")))
	if counts.Users != 1 || counts.Anonymous != 1 || counts.Sessions != 0 || counts.Unknown < 4 {
		t.Errorf("%+v", counts)
	}
}
