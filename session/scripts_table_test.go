package session_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// A session is about to expire when a login moves it. RevokeUser runs between the steps, and the
// login fails. If the record outlived its index entry, RevokeUser would miss it, and the failed
// login would restore it.
func TestS1_AMovingSessionStaysInTheIndex(t *testing.T) {
	t.Parallel()
	s := newScripted(rig.Shared(t).Conn(t), rig.Prefix(t)+":{ada}")
	id, now := strings.Repeat("1", 16), int64(4_000_000_000_000)
	keys := []string{s.index, s.key(id)}
	at := func(ms int64) {
		s.set(t, (now+ms)*1000, 0)
		s.look(t, now+ms, keys...)
	}
	at(0)
	s.eval(t, "create", keys, "RPUSH", "0", "0", "", "", "1000", id, "u", "version1", "1000", "0", "0",
		noLink, strings.Repeat("x", 32), "body")
	at(1050)
	if got := s.eval(t, "move begin", keys, "version1", "nonce123", "30000", id); got != "D" {
		t.Fatalf("move begin: %s", got)
	}
	at(1150)
	if got := s.eval(t, "end user", keys[:1], "RPUSH", "0", "", "1000"); got != "D01" {
		t.Errorf("end user: %q", got)
	}
	if got := s.eval(t, "move undo", keys, "nonce123", "version1", id); got != "G" {
		t.Errorf("move undo after the end: %s", got)
	}
	s.do(t, "DEL", s.index, s.key(id), s.clock, s.index+":gone")
}

// For each batch size and each place of the kept records in the index: calls repeat while more
// records are left, and all other records end.
func TestS1_EndOfAUsersSessionsInBatches(t *testing.T) {
	t.Parallel()
	s := newScripted(rig.Shared(t).Conn(t), rig.Prefix(t))
	s.set(t, aSecond, 0)
	const members = 6
	id := func(i int) string { return strings.Repeat(string(rune('a'+i)), 16) }
	for limit := 1; limit <= members; limit++ {
		for keep := range members {
			for link := range members {
				for i := range members {
					linked := strings.Repeat(".", 16)
					switch {
					case i == keep && keep != link:
						linked = id(link)
					case i == link && keep != link:
						linked = id(keep)
					}
					s.do(t, "SET", s.key(id(i)), "2Lu"+strings.Repeat("0", 63)+linked+strings.Repeat("0", 32))
					s.do(t, "ZADD", s.index, strconv.Itoa(i), strings.Repeat("0", 16)+"u"+id(i))
				}
				for calls := 1; ; calls++ {
					if n := s.eval(t, "end user", []string{s.index}, "RPUSH", "0", id(keep), strconv.Itoa(limit)); n[1] == '0' {
						break
					}
					if calls > members {
						t.Fatalf("limit %d, kept %d and %d: the calls do not end", limit, keep, link)
					}
				}
				for i := range members {
					if lives := s.do(t, "EXISTS", s.key(id(i))) == "1"; lives != (i == keep || i == link) {
						t.Errorf("limit %d, kept %d and %d: record %d exists: %v", limit, keep, link, i, lives)
					}
				}
				s.do(t, "DEL", s.index, s.index+":gone")
			}
		}
	}
}
