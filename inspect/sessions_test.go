package inspect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

type account struct{ Theme string }

func newSessions(t testing.TB, p place, name string, o session.Options) *session.Manager[account] {
	t.Helper()
	m, err := session.New[account](p.service, name, o)
	must(t, err)
	return m
}

var sessionKey = []byte(strings.Repeat("k", 32))

func TestSessionsListRevokeAndCount(t *testing.T) {
	t.Parallel()
	keys := map[string]inspect.SessionKeys{"web": {Encryption: [][]byte{sessionKey}, User: sessionKey[:16]}}
	onPlaces(t, keys, func(t *testing.T, p place) {
		ctx := t.Context()
		m := newSessions(t, p, "web", session.Options{EncryptionKeys: [][]byte{sessionKey}, UserKey: sessionKey[:16]})
		other := newSessions(t, p, "admin {*}", session.Options{})
		var ids, tokens []string
		for i := range 7 {
			s, err := m.Create(ctx, "ada", account{fmt.Sprint("dark ", i)}, session.Device("<b>browser\x1b[31m", "192.0.2.1"))
			must(t, err)
			ids, tokens = append(ids, s.ID()), append(tokens, s.Token())
		}
		_, err := m.Create(ctx, "", account{})
		must(t, err)
		_, err = other.Create(ctx, "eve", account{}, session.Remember())
		must(t, err)

		s := p.looks.Sessions()
		var names []string
		for _, info := range pages(t, 1, func(page inspect.Page) (inspect.List[inspect.ManagerInfo], error) {
			return s.Managers(ctx, page)
		}) {
			names = append(names, info.Name)
		}
		slices.Sort(names)
		if names = slices.Compact(names); !slices.Equal(names, []string{"admin {*}", "web"}) {
			t.Errorf("managers %q", names)
		}

		listed := pages(t, 3, func(page inspect.Page) (inspect.List[inspect.SessionInfo], error) {
			return s.OfUser(ctx, "web", "ada", page)
		})
		var got []string
		for _, info := range listed {
			got = append(got, info.ID)
			if info.Kind != "session" || !info.Encrypted || info.Problem != "" || info.Address != "192.0.2.1" || info.Expires.IsZero() {
				t.Errorf("session %+v", info)
			}
		}
		slices.Sort(got)
		slices.Sort(ids)
		if !slices.Equal(got, ids) {
			t.Errorf("sessions %q, want %q", got, ids)
		}
		data, err := s.Data(ctx, "web", "ada", ids[0])
		must(t, err)
		if data.Codec != 1 || !strings.Contains(data.Data, `"dark `) {
			t.Errorf("data %+v", data)
		}
		text, err := json.Marshal([]any{listed, data})
		must(t, err)
		for _, token := range tokens {
			if strings.Contains(string(text), token[:20]) || strings.Contains(string(text), token[36:]) {
				t.Error("an answer has a part of a token that is not the public id")
			}
		}

		var c inspect.SessionCount
		for page := (inspect.Page{}); ; page.Cursor = c.Next {
			some, err := s.Count(ctx, "web", page)
			must(t, err)
			c.Users, c.Sessions = c.Users+some.Users, c.Sessions+some.Sessions
			c.Anonymous, c.Unknown = c.Anonymous+some.Anonymous, c.Unknown+some.Unknown
			if c.Next = some.Next; c.Next == "" {
				break
			}
		}
		if c.Users != 1 || c.Sessions != 7 || c.Anonymous != 1 || c.Unknown != 0 {
			t.Errorf("counts %+v", c)
		}

		must(t, p.repairs.Sessions().Revoke(ctx, "web", "ada", ids[0]))
		for _, id := range []string{ids[0], "", "x", strings.Repeat("A", 1<<20)} {
			if err := p.repairs.Sessions().Revoke(ctx, "web", "ada", id); !errors.Is(err, inspect.ErrNotFound) || len(err.Error()) > 500 {
				t.Errorf("revoke of an unknown session: %.200v", err)
			}
		}
		if n, err := p.repairs.Sessions().RevokeAll(ctx, "web", "ada"); err != nil || n != 6 {
			t.Errorf("revoked %d, %v, want 6", n, err)
		}
		for _, token := range tokens {
			if _, err := m.Load(ctx, token); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("a revoked session: %v", err)
			}
		}
		if records := p.log.records(t); len(records) != 2 || records[0] != "ana session revoke web ada "+ids[0]+" 1" ||
			records[1] != "ana session revoke all web ada 6" {
			t.Errorf("the log has %.300q", records)
		}
		_, err1 := s.RevokeAll(ctx, "web", "ada")
		for _, err := range []error{err1, s.Revoke(ctx, "web", "ada", ids[0])} {
			if !errors.Is(err, inspect.ErrReadOnly) {
				t.Errorf("a repair of a read-only Inspector: %v", err)
			}
		}
	})
}

// Without the keys, a session is listed by its times, and its data is an error.
func TestSessionsWithoutKeys(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	m, err := session.New[account](client, "web", session.Options{EncryptionKeys: [][]byte{sessionKey}})
	must(t, err)
	s, err := m.Create(t.Context(), "ada", account{"dark"}, session.Device("browser", "192.0.2.1"))
	must(t, err)
	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	must(t, err)
	list, err := in.Sessions().OfUser(t.Context(), "web", "ada", inspect.Page{})
	must(t, err)
	if len(list.Items) != 1 || list.Items[0].Problem == "" || list.Items[0].UserAgent != "" || list.Items[0].Expires.IsZero() {
		t.Errorf("%+v", list.Items)
	}
	if data, err := in.Sessions().Data(t.Context(), "web", "ada", s.ID()); err == nil || data.Data != "" {
		t.Errorf("data without the key: %+v, %v", data, err)
	}
	keys := inspect.SessionKeys{Encryption: [][]byte{sessionKey}}
	text := fmt.Sprintf("%v %+v %#v %v", keys, keys, keys, map[string]inspect.SessionKeys{"web": keys})
	if strings.Contains(text, "kkkk") || strings.Contains(text, "107") {
		t.Errorf("a printed key: %s", text)
	}
}
