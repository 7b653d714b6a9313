package session_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// The Store has the behaviour that scs expects, as in the tests that the stores of scs share.
func TestStore(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		for name, keys := range map[string][][]byte{"plain": nil, "encrypted": {key("s")}} {
			st := must[*session.Store](t)(session.NewStore(client, name, session.StoreOptions{EncryptionKeys: keys}))
			find := func(token, want string) {
				t.Helper()
				b, found, err := st.Find(token)
				ok(t, err)
				if found != (want != "") || string(b) != want {
					t.Errorf("%s: %q is %q, found %v; want %q", name, token, b, found, want)
				}
			}
			soon := time.Now().Add(time.Minute)
			find("missing", "")
			ok(t, st.Delete("missing"))
			ok(t, st.Commit("new", []byte("data \x00\xff"), soon))
			find("new", "data \x00\xff")
			ok(t, st.Commit("new", []byte("updated"), soon))
			find("new", "updated")
			find("ne", "")
			find("new*", "")
			ok(t, st.Delete("new"))
			find("new", "")
			ok(t, st.Delete("new"))
			ok(t, st.Commit("brief", []byte("x"), time.Now().Add(100*time.Millisecond)))
			rig.Eventually(t, 10*time.Second, "it expires", func() bool {
				_, found, err := st.Find("brief")
				return err == nil && !found
			})
			ok(t, st.Commit("brief", []byte("again"), soon)) // an expired session is not a deleted one
			find("brief", "again")
			ok(t, st.Commit("brief", []byte("past"), time.Now().Add(-time.Second)))
			find("brief", "")
			ok(t, st.Commit("empty", nil, soon))
			if b, found, err := st.Find("empty"); !found || len(b) != 0 || err != nil {
				t.Errorf("an empty session: %q, %v, %v", b, found, err)
			}
			if err := st.Commit("large", bytes.Repeat([]byte("x"), 64<<10+1),
				soon); !errors.Is(err, redstart.ErrTooLarge) {
				t.Errorf("too large: %v", err)
			}
			// The server stores hashes of the tokens.
			ok(t, st.Commit("a token", []byte("x"), soon))
			ok(t, st.Commit(strings.Repeat("long", 10_000), []byte("x"), soon))
		}
	})
}

// A late Commit does not restore a deleted session. Other stores for scs have this fault.
func TestS1_StoreRefusesLateSaves(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		st := must[*session.Store](t)(session.NewStore(open(t, e.URL, e.Namespace), "scs", session.StoreOptions{}))
		soon := time.Now().Add(time.Minute)
		ok(t, st.Commit("token", []byte("x"), soon))
		ok(t, st.Delete("token"))
		if err := st.Commit("token", []byte("back"), soon); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("a late save: %v", err)
		}
		if _, found, err := st.Find("token"); found || err != nil {
			t.Errorf("found %v, %v", found, err)
		}
	})
}
