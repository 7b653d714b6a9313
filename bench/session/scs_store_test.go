package session_test

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// TestSCS_StoreTests is the suite that scs publishes with each store, test by test under its names, with its values and its
// assertions: redisstore/redisstore_test.go and goredisstore/goredisstore_test.go (TestFind, TestSaveNew, TestFindMissing,
// TestSaveUpdated, TestExpiry, TestDelete) and memstore/memstore_test.go (TestCommitNew and TestCommitUpdated are the two Saves there),
// as of scs v2.9.0. It is no package that one could import: each file reaches into its own store, with SET and GET of the key in
// which that keeps a session as it is. What reaches in here is a second Store of another client, since our bytes
// have a header and a hashed key; and it runs on memstore too, so that both are held to the same.
//
// TestExpiry waits for the end instead of sleeping for twice as long.
func TestSCS_StoreTests(t *testing.T) {
	t.Parallel()
	type reach struct{ store, other scs.Store }
	stores := map[string]func(t *testing.T) reach{
		"memstore": func(*testing.T) reach {
			m := memstore.NewWithCleanupInterval(0)
			return reach{m, m}
		},
	}
	for name, opts := range map[string]session.StoreOptions{
		"redstart":           {},
		"redstart encrypted": {EncryptionKeys: [][]byte{[]byte(strings.Repeat("k", 32))}},
	} {
		stores[name] = func(t *testing.T) reach {
			url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
			return reach{newStore(t, url, namespace, opts), newStore(t, url, namespace, opts)}
		}
	}
	for storeName, begin := range stores {
		for form, as := range map[string]func(scs.Store) scs.Store{
			"plain": func(s scs.Store) scs.Store { return s },
			"ctx":   func(s scs.Store) scs.Store { return withContext{s.(scs.CtxStore)} },
		} {
			if storeName == "memstore" && form == "ctx" {
				continue // it has no such methods
			}
			for _, test := range scsStoreTests {
				t.Run(fmt.Sprint(storeName, "/", form, "/", test.name), func(t *testing.T) {
					t.Parallel()
					r := begin(t)
					test.run(t, as(r.store), as(r.other))
				})
			}
		}
	}
}

func newStore(t *testing.T, url, namespace string, opts session.StoreOptions) *session.Store {
	t.Helper()
	store, err := session.NewStore(openIn(t, url, namespace), "scs", opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// withContext is a CtxStore whose plain methods are the ones with a context, as SessionManager calls them.
type withContext struct{ scs.CtxStore }

func (s withContext) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}
func (s withContext) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}
func (s withContext) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// scsStoreTests take a store and another view of what it keeps.
var scsStoreTests = []struct {
	name string
	run  func(t *testing.T, r, other scs.Store)
}{
	{"TestFind", func(t *testing.T, r, other scs.Store) {
		set(t, other, "encoded_data")
		b, found, err := r.Find("session_token")
		if err != nil {
			t.Fatal(err)
		}
		if found != true {
			t.Fatalf("got %v: expected %v", found, true)
		}
		if bytes.Equal(b, []byte("encoded_data")) == false {
			t.Fatalf("got %v: expected %v", b, []byte("encoded_data"))
		}
	}},
	{"TestSaveNew", func(t *testing.T, r, other scs.Store) {
		err := r.Commit("session_token", []byte("encoded_data"), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if data := kept(t, other); reflect.DeepEqual(data, []byte("encoded_data")) == false {
			t.Fatalf("got %v: expected %v", data, []byte("encoded_data"))
		}
	}},
	{"TestFindMissing", func(t *testing.T, r, _ scs.Store) {
		_, found, err := r.Find("missing_session_token")
		if err != nil {
			t.Fatalf("got %v: expected %v", err, nil)
		}
		if found != false {
			t.Fatalf("got %v: expected %v", found, false)
		}
	}},
	{"TestSaveUpdated", func(t *testing.T, r, other scs.Store) {
		set(t, other, "encoded_data")
		err := r.Commit("session_token", []byte("new_encoded_data"), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if data := kept(t, other); reflect.DeepEqual(data, []byte("new_encoded_data")) == false {
			t.Fatalf("got %v: expected %v", data, []byte("new_encoded_data"))
		}
	}},
	{"TestExpiry", func(t *testing.T, r, _ scs.Store) {
		const life = 500 * time.Millisecond // 100 ms there: the first look must come in time on any machine
		before := time.Now()
		err := r.Commit("session_token", []byte("encoded_data"), before.Add(life))
		if err != nil {
			t.Fatal(err)
		}
		_, found, _ := r.Find("session_token")
		if found != true && time.Since(before) < life {
			t.Fatalf("got %v: expected %v", found, true)
		}
		rig.Eventually(t, 10*time.Second, "it expires", func() bool {
			_, found, err := r.Find("session_token")
			if err != nil {
				t.Fatal(err)
			}
			return !found
		})
		if lived := time.Since(before); lived < life-2*time.Millisecond {
			t.Fatalf("it lived for %v: expected %v", lived, life)
		}
	}},
	{"TestDelete", func(t *testing.T, r, other scs.Store) {
		set(t, other, "encoded_data")
		err := r.Delete("session_token")
		if err != nil {
			t.Fatal(err)
		}
		if data := kept(t, other); data != nil {
			t.Fatalf("got %v: expected %v", data, nil)
		}
	}},
}

// set is upstream's SET, kept its GET.
func set(t *testing.T, s scs.Store, data string) {
	t.Helper()
	if err := s.Commit("session_token", []byte(data), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func kept(t *testing.T, s scs.Store) []byte {
	t.Helper()
	data, found, err := s.Find("session_token")
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return nil
	}
	return data
}
