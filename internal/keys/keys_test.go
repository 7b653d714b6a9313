package keys_test

import (
	"path"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/keys"
)

func space(t testing.TB, namespace, pattern, name string) keys.Space {
	t.Helper()
	s, err := keys.New(namespace, pattern, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKey(t *testing.T) {
	t.Parallel()
	s := space(t, "app", "cache", "users")
	for _, tt := range []struct{ user, want string }{
		{"42", "app:cache:users:{42}"},
		{"user:42:orders", "app:cache:users:{user:42:orders}"},
		{"", "app:cache:users:{%}"},
		{"%", "app:cache:users:{%25}"},
		{"a{b}c", "app:cache:users:{a%7Bb%7Dc}"},
		{"*?[]\\\"' ", "app:cache:users:{%2A%3F%5B%5D%5C%22%27%20}"},
		{"\x00\n\x7f\xff", "app:cache:users:{%00%0A%7F%FF}"},
		{"é", "app:cache:users:{%C3%A9}"},
		{"a@b.c/d-e_f~g!h#i$j&k(l)m+n,o;p<q>r=s^t`u|v", "app:cache:users:{a@b.c/d-e_f~g!h#i$j&k(l)m+n,o;p<q>r=s^t`u|v}"},
	} {
		if got := s.Key(tt.user); got != tt.want {
			t.Errorf("Key(%q) = %s, want %s", tt.user, got, tt.want)
		}
		if got, want := s.Sibling(tt.user, "lease"), tt.want+":lease"; got != want {
			t.Errorf("Sibling(%q) = %s, want %s", tt.user, got, want)
		}
	}
	if got, want := s.Sibling("a b", "x:y z"), "app:cache:users:{a%20b}:x:y%20z"; got != want {
		t.Errorf("Sibling = %s, want %s", got, want)
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ namespace, pattern, name, want string }{
		{"app", "cache", "users", "app:cache:users:"},
		{"app", "lock", "", "app:lock:"},
		{"a:b", "c", "d", "a%3Ab:c:d:"},
		{"a", "b", "c:d", "a:b:c%3Ad:"},
		{"a{b}", "c*", "d e", "a%7Bb%7D:c%2A:d%20e:"},
	} {
		s := space(t, tt.namespace, tt.pattern, tt.name)
		if s.Prefix() != tt.want {
			t.Errorf("Prefix() = %s, want %s", s.Prefix(), tt.want)
		}
		for _, user := range []string{"", "x", "{", "}{", ":"} {
			if before, _, _ := strings.Cut(s.Key(user), "{"); before != s.Prefix() {
				t.Errorf("key %s does not have %s before its brace", s.Key(user), s.Prefix())
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 129)
	for _, tt := range []struct{ namespace, pattern, name, want string }{
		{"", "cache", "users", "namespace"},
		{"app", "", "users", "pattern"},
		{long, "cache", "users", "namespace"},
		{"app", long, "users", "pattern"},
		{"app", "cache", long, "name is 129 bytes"},
	} {
		_, err := keys.New(tt.namespace, tt.pattern, tt.name)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%.5q, %.5q, %.5q) = %v, want an error with %q", tt.namespace, tt.pattern, tt.name, err, tt.want)
		}
	}
}

// Decode refuses strings that Key does not return, because one user key has one key.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	s := space(t, "app", "cache", "users")
	for _, key := range []string{
		"", "app:cache:users:", "app:cache:users:{", "app:cache:users:{}", "app:cache:users:{a",
		"app:cache:orders:{a}", "app:cache:users2:{a}", "xapp:cache:users:{a}",
		"app:cache:users:{a}x", "app:cache:users:{a}}", "app:cache:users:{%2}", "app:cache:users:{%zz}",
		"app:cache:users:{%2a}", "app:cache:users:{%61}", "app:cache:users:{a b}", "app:cache:users:{é}", "app:cache:users:{%%}",
		"app:cache:users:{a%}", "app:cache:users:{a*}", "app:cache:users:{a{b}",
	} {
		if user, ok := s.Decode(key); ok {
			t.Errorf("Decode(%q) = %q, want a refusal", key, user)
		}
		if user, suffix, _, ok := s.Split(key); ok {
			t.Errorf("Split(%q) = %q, %q, want a refusal", key, user, suffix)
		}
	}
	if user, ok := s.Decode(s.Sibling("a", "lease")); ok {
		t.Errorf("Decode of a sibling = %q, want a refusal", user)
	}
	if _, _, _, ok := s.Split("app:cache:users:{a}:b c"); ok {
		t.Error("Split took a suffix that Sibling can't have made")
	}
	if _, ok := (keys.Space{}).Decode("a}"); ok {
		t.Error("the zero Space decoded a key")
	}
}

func TestNameOf(t *testing.T) {
	t.Parallel()
	base := space(t, "app", "cache", "")
	for _, name := range []string{"users", "a:b", "{x}", "a b", "\x00\xff", "%", "*"} {
		s := space(t, "app", "cache", name)
		for _, key := range []string{s.Key("k"), s.Sibling("k", "lease"), s.Key("{")} {
			if got, ok := base.NameOf(key); !ok || got != name {
				t.Errorf("NameOf(%q) = %q, %v, want %q", key, got, ok, name)
			}
		}
	}
	if got, ok := base.NameOf(base.Key("k")); !ok || got != "" {
		t.Errorf("a Space without a name: %q, %v", got, ok)
	}
	for _, key := range []string{"", "app:lock:x:{k}", "app:cache:x", "app:cache:x{k}", "app:cache::{k}", "app:cache:%61:{k}",
		"app:cache:a:b:{k}"} {
		if got, ok := base.NameOf(key); ok {
			t.Errorf("NameOf(%q) = %q, want a refusal", key, got)
		}
	}
}

func TestSlot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  string
		want uint16
	}{
		{"123456789", 0x31c3}, // the test vector of the specification, which is below 16384
		{"", 0},
		{"foo", 12182},
		{"bar", 5061},
		{"{foo}bar", 12182},
		{"x{foo}bar", 12182},
		{"foo{}", 5542}, // an empty tag does not count
		{"{}foo", 9500},
		{"foo{{bar}}", 4015},       // the tag is "{bar"
		{"foo{bar}{zap}", 5061},    // the first tag counts
		{"foo{bar", 15278},         // without a closing brace, the whole key counts
		{"app:cache:u:{%}", 13511}, // the key of the empty user key
	} {
		if got := keys.Slot(tt.key); got != tt.want {
			t.Errorf("Slot(%q) = %d, want %d", tt.key, got, tt.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	s := space(t, "app", "cache", "users")
	var sink string
	for _, user := range []string{"", "user:42", "user 42 {é}"} {
		for name, f := range map[string]func(){
			"Key":     func() { sink = s.Key(user) },
			"Sibling": func() { sink = s.Sibling(user, "lease") },
			"Match":   func() { sink = s.Match(user) },
		} {
			if got := testing.AllocsPerRun(100, f); got != 1 {
				t.Errorf("%s(%q): %v allocations, want 1", name, user, got)
			}
		}
		key := s.Key(user)
		want := 0.0 // for the slice of the key
		if strings.Contains(user, " ") {
			want = 1
		}
		if got := testing.AllocsPerRun(100, func() { sink, _ = s.Decode(key) }); got != want {
			t.Errorf("Decode(%q): %v allocations, want %v", key, got, want)
		}
	}
	_ = sink
}

// TestA5_Injective checks that different inputs give different keys, and that the inputs are
// returned.
func TestA5_Injective(t *testing.T) {
	t.Parallel()
	parts := []string{"a", "a:", ":a", "a:a", ":", "%", "%3A", "{", "}", "{}", "*", "\x00", "\xff", " ", "a{b}"}
	users := append([]string{""}, parts...)
	names := append([]string{""}, parts...)
	seen := map[string][4]string{}
	add := func(key string, in [4]string) {
		if was, ok := seen[key]; ok {
			t.Fatalf("%q and %q are both %s", was, in, key)
		}
		seen[key] = in
	}
	for _, namespace := range parts {
		for _, pattern := range parts {
			for _, name := range names {
				s := space(t, namespace, pattern, name)
				for _, user := range users {
					add(s.Key(user), [4]string{namespace, pattern, name, user})
				}
			}
		}
	}
	s := space(t, "app", "cache", "siblings")
	for _, user := range users {
		add(s.Key(user), [4]string{user})
		for _, suffix := range users {
			add(s.Sibling(user, suffix), [4]string{user, "}:", suffix})
		}
	}
}

func FuzzA5_Injective(f *testing.F) {
	for _, s := range []string{"", ":", "{", "}", "*", "%", "%7B", "\x00", "\xff\xfe", "user:42", "a b"} {
		f.Add("app", "users", s, "lease", "app", "users:", s+":", "lease:")
	}
	f.Fuzz(func(t *testing.T, ns1, name1, user1, suffix1, ns2, name2, user2, suffix2 string) {
		s1, err1 := keys.New(ns1, "cache", name1)
		s2, err2 := keys.New(ns2, "cache", name2)
		if err1 != nil || err2 != nil {
			return
		}
		sameSpace := ns1 == ns2 && name1 == name2
		if (s1.Prefix() == s2.Prefix()) != sameSpace {
			t.Fatalf("prefixes %s and %s", s1.Prefix(), s2.Prefix())
		}
		if got, want := s1.Key(user1) == s2.Key(user2), sameSpace && user1 == user2; got != want {
			t.Fatalf("%s and %s: same is %v", s1.Key(user1), s2.Key(user2), got)
		}
		b1, b2 := s1.Sibling(user1, suffix1), s2.Sibling(user2, suffix2)
		if got, want := b1 == b2, sameSpace && user1 == user2 && suffix1 == suffix2; got != want {
			t.Fatalf("%s and %s: same is %v", b1, b2, got)
		}
		if s1.Key(user1) == b2 || s2.Key(user2) == b1 {
			t.Fatalf("a key is another's sibling: %s %s", s1.Key(user1), b2)
		}
	})
}

func FuzzA5_RoundTrip(f *testing.F) {
	for _, s := range []string{"", ":", "{", "}", "*", "%", "%7B", "\x00", "\xff\xfe", "user:42", "a b", "[a-z]?\\"} {
		f.Add(s, s, s, s)
	}
	f.Fuzz(func(t *testing.T, namespace, name, user, suffix string) {
		s, err := keys.New(namespace, "cache", name)
		if err != nil {
			return
		}
		key, sibling := s.Key(user), s.Sibling(user, suffix)
		if got, ok := s.Decode(key); !ok || got != user {
			t.Fatalf("Decode(%q) = %q, %v, want %q", key, got, ok, user)
		}
		if gotUser, gotSuffix, isSibling, ok := s.Split(sibling); !ok || !isSibling || gotUser != user || gotSuffix != suffix {
			t.Fatalf("Split(%q) = %q, %q, %v, %v", sibling, gotUser, gotSuffix, isSibling, ok)
		}
		if gotUser, _, isSibling, ok := s.Split(key); !ok || isSibling || gotUser != user {
			t.Fatalf("Split(%q) = %q, %v, %v", key, gotUser, isSibling, ok)
		}
		for _, k := range []string{key, sibling} {
			if keys.Slot(k) != keys.Slot(key) {
				t.Fatalf("%q and %q are in two slots", key, k)
			}
			if before, _, _ := strings.Cut(k, "{"); before != s.Prefix() {
				t.Fatalf("%q does not begin with %q", k, s.Prefix())
			}
			for i := range len(k) {
				if c := k[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`*?[]\"'`, c) >= 0 {
					t.Fatalf("%q holds %q", k, c)
				}
			}
		}
	})
}

// The pattern of a prefix matches exactly the keys that begin with it. path.Match stands for the
// server's glob: they differ only for "/", which the test replaces.
func FuzzA5_Match(f *testing.F) {
	f.Add("user:1:", "user:1:orders")
	f.Add("user:1", "user:2")
	f.Add("*", "abc")
	f.Add("[a-z]", "b")
	f.Add("", "")
	f.Add("%", "%7")
	f.Add("a\\", "a*")
	f.Fuzz(func(t *testing.T, prefix, user string) {
		s := space(t, "app", "cache", "users")
		pattern := s.Match(prefix)
		if strings.Count(pattern, "*") != 1 || strings.ContainsAny(pattern, `?[]\`) || !strings.HasSuffix(pattern, "*") {
			t.Fatalf("Match(%q) = %s", prefix, pattern)
		}
		for _, u := range []string{user, prefix, prefix + user} {
			for _, key := range []string{s.Key(u), s.Sibling(u, "lease")} {
				got, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(key, "/", "\x01"))
				if err != nil || got != strings.HasPrefix(u, prefix) {
					t.Fatalf("%s on %s: %v, %v, want %v", pattern, key, got, err, strings.HasPrefix(u, prefix))
				}
			}
		}
	})
}

func BenchmarkKey(b *testing.B) {
	s := space(b, "app", "cache", "users")
	for _, bm := range []struct{ name, user string }{
		{"plain", "user:42:orders"}, {"escaped", "user {42} é"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Key(bm.user)
			}
		})
	}
}

func BenchmarkSlot(b *testing.B) {
	key := space(b, "app", "cache", "users").Key("user:42:orders")
	for b.Loop() {
		keys.Slot(key)
	}
}
