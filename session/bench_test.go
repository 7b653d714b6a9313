package session_test

import (
	"strings"
	"testing"

	"github.com/redstart-go/redstart/session"
)

// The work of an unchanged request besides the read: the cookie and the record.

func BenchmarkCookieToken(b *testing.B) {
	lines := []string{"theme=dark; __Host-session=" + strings.Repeat("Ab1-", 20) + "; consent=1"}
	b.ReportAllocs()
	for b.Loop() {
		if session.CookieToken(lines, "__Host-session") == "" {
			b.Fatal("none")
		}
	}
}

func BenchmarkParseRecord(b *testing.B) {
	for name, keys := range map[string][][]byte{"plain": nil, "encrypted": {[]byte(strings.Repeat("k", 32))}} {
		raw := session.RawRecord("ada", strings.Repeat("x", 200), keys)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, ok := session.ParseRecord(raw, keys); !ok {
					b.Fatal("unreadable")
				}
			}
		})
	}
}
