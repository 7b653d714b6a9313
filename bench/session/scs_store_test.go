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

// TestSCS_StoreTests is the test suite that scs publishes with each store, under the same names,
// with the same values and assertions: redisstore/redisstore_test.go and
// goredisstore/goredisstore_test.go (TestFind, TestSaveNew, TestFindMissing, TestSaveUpdated,
// TestExpiry, TestDelete) and memstore/memstore_test.go (where the two TestSave tests are
// TestCommitNew and TestCommitUpdated), of scs v2.9.0. The suite is not a package: each file
// accesses its own store with SET and GET. Here a second Store with another client accesses the
// data, because our values have a header and a hashed key. The suite also runs on memstore, so that
// both stores pass the same tests.
//
// TestExpiry waits for the end of the session instead of sleeping for twice as long.
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
				continue // memstore has no such methods
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

// withContext is a CtxStore whose plain methods call the methods with a context, as SessionManager
// does.
type withContext struct{ scs.CtxStore }

func (s withContext) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}
func (s withContext) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}
func (s withContext) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// scsStoreTests are tests of a store and of another view of its data.
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
		const life = 500 * time.Millisecond // 100 ms in scs: the first read must be in time on any machine
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

// set replaces the SET of the original, kept replaces its GET.
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
