package keys_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// nasty has user keys with a meaning for a glob, a hash tag, a shell or the format of keys.
var nasty = []string{
	"", "a", "aa", "ab", "a*", "a?", "a[b]", "a[^b]", "a[a-z]", "a\\", "a\\*", "a{b}", "{", "}", "{}", "*",
	"?", "[", "]", "^", "-",
	"%", "%2A", "%7B", ":", "::", "a:b", "a:*", "a\x00b", "\x00", "\xff", "\xc3\x28", "é", "\n", "\r\n", " ",
	"\"", "'", "/", "\x7f",
}

// TestA5_MatchOnAServer uses the server's own glob. Match finds exactly the keys whose user key
// begins with the prefix, and their siblings. It finds no key of another space.
func TestA5_MatchOnAServer(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	namespace := rig.Prefix(t)
	s := space(t, namespace, "cache", "users")
	set := func(key string) {
		if _, err := server.Do("SET", key, "x", "EX", "60"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"users2", "user", "users*", "*", "users:{a}"} {
		other := space(t, namespace, "cache", name)
		for _, user := range nasty {
			set(other.Key(user))
		}
	}
	for _, user := range nasty {
		set(s.Key(user))
		set(s.Sibling(user, "lease"))
	}
	for _, prefix := range nasty {
		var want []string
		for _, user := range nasty {
			if strings.HasPrefix(user, prefix) {
				want = append(want, s.Key(user), s.Sibling(user, "lease"))
			}
		}
		got := scan(t, server, s.Match(prefix))
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("prefix %q, pattern %s:\n got %q\nwant %q", prefix, s.Match(prefix), got, want)
		}
		for _, key := range got {
			if user, _, _, ok := s.Split(key); !ok || !strings.HasPrefix(user, prefix) {
				t.Errorf("%q decodes as %q, %v", key, user, ok)
			}
		}
	}
}

func scan(t *testing.T, server *rig.Server, pattern string) (found []string) {
	t.Helper()
	for cursor := "0"; ; {
		reply, err := server.Do("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
		if err != nil {
			t.Fatal(err)
		}
		page := reply.([]any)
		for _, key := range page[1].([]any) {
			found = append(found, key.(string))
		}
		if cursor = page[0].(string); cursor == "0" {
			slices.Sort(found)
			return slices.Compact(found)
		}
	}
}

// TestA5_SlotOnAServer compares Slot with the server's CLUSTER KEYSLOT.
func TestA5_SlotOnAServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t, "--cluster-enabled", "yes")
	s := space(t, rig.Prefix(t), "cache", "users")
	for _, user := range nasty {
		for _, key := range []string{s.Key(user), s.Sibling(user, "lease"), s.Prefix(), user} {
			reply, err := server.Do("CLUSTER", "KEYSLOT", key)
			if err != nil {
				t.Fatal(err)
			}
			if got := keys.Slot(key); int64(got) != reply {
				t.Errorf("Slot(%q) = %d, the server says %v", key, got, reply)
			}
		}
	}
}
