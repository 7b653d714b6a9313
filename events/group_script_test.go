package events_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// group.lua counts the events that wait for a group. The test compares the counts with the stored
// state of each row. The clock stands at 1,000,000 ms.
func TestGroupScript(t *testing.T) {
	t.Parallel()
	keys := []string{"stream", "groups", "group:g", "heads:g", "parked:g:", "dead:g", "delayed", "cut"}
	registered := func(r *scriptRunner) {
		r.eval("register", []string{"group:g", "stream", "groups"}, "g", "0", "")
	}
	uncounted := func(r *scriptRunner) { // as an older release registered it
		registered(r)
		r.conn.CLI("HDEL", r.prefix+"group:g", "read", "last")
	}
	entries := func(r *scriptRunner, ids ...string) {
		for _, id := range ids {
			r.conn.CLI("XADD", r.prefix+"stream", id, "c", "a", "e1", "body")
		}
	}
	parked := func(r *scriptRunner, channel, head string, ids ...string) {
		for _, id := range ids {
			r.conn.CLI("RPUSH", r.prefix+"parked:g:"+channel, id+" e1 body")
		}
		r.conn.CLI("HINCRBY", r.prefix+"group:g", "parked", fmt.Sprint(len(ids)))
		r.conn.CLI("ZADD", r.prefix+"heads:g", head, channel)
	}
	read := func(r *scriptRunner, n string) {
		r.conn.CLI("XREADGROUP", "GROUP", "g", "owner", "COUNT", n, "STREAMS", r.prefix+"stream", ">")
	}
	for _, c := range []struct {
		name  string
		store func(r *scriptRunner)
		want  string // registered, unread, pending, parked, dead, delayed, oldest
	}{
		{"nothing", func(*scriptRunner) {}, "0 0 0 0 0 0 -"},
		{"no entries", registered, "1 0 0 0 0 0 -"},
		{"unread", func(r *scriptRunner) { registered(r); entries(r, "500-0", "600-0") }, "1 2 0 0 0 0 500"},
		{"read and not finished", func(r *scriptRunner) {
			uncounted(r)
			entries(r, "500-0", "600-0",
				"700-0")
			read(r, "2")
		}, "1 1 2 0 0 0 500"},
		{"finished", func(r *scriptRunner) {
			uncounted(r)
			entries(r, "500-0", "600-0")
			read(r, "2")
			r.conn.CLI("XACK", r.prefix+"stream", "g", "500-0", "600-0")
		}, "1 0 0 0 0 0 -"},
		{"counted by the owner", func(r *scriptRunner) {
			registered(r)
			entries(r, "500-0", "600-0", "700-0")
			r.conn.CLI("HSET", r.prefix+"group:g", "read", "2", "last", "600-0")
		}, "1 1 0 0 0 0 700"},
		{"counted by the owner, cut events included", func(r *scriptRunner) {
			registered(r)
			entries(r, "500-0", "600-0", "700-0")
			r.conn.CLI("HSET", r.prefix+"group:g", "read", "0", "last", "0-0")
			r.conn.CLI("HSET", r.prefix+"cut", "g", "1")
			r.conn.CLI("XDEL", r.prefix+"stream", "500-0")
		}, "1 2 0 0 0 0 600"},
		{"parked", func(r *scriptRunner) {
			registered(r)
			parked(r, "a", "300", "300-0", "400-0")
			parked(r, "b", "350", "350-0")
		}, "1 0 0 3 0 0 300"},
		{"a head that was done", func(r *scriptRunner) {
			registered(r)
			parked(r, "a", "100", "300-0")
			parked(r,
				"b", "350", "350-0")
		}, "1 0 0 2 0 0 300"},
		{"a list that is empty", func(r *scriptRunner) {
			registered(r)
			parked(r, "a", "100")
			parked(r, "b", "350",
				"350-0")
		}, "1 0 0 1 0 0 350"},
		{"more heads that were done than one look corrects", func(r *scriptRunner) {
			registered(r)
			for i := range 65 {
				parked(r, fmt.Sprintf("%02d", i), fmt.Sprint(100+i), fmt.Sprint(300+i, "-0"))
			}
		}, "1 0 0 65 0 0 164"},
		{"dead and delayed", func(r *scriptRunner) {
			registered(r)
			r.conn.CLI("XADD", r.prefix+"dead:g", "500-0", "id", "1")
			r.conn.CLI("ZADD", r.prefix+"delayed", "2000000", "a", "3000000", "b")
		}, "1 0 0 0 1 2 -"},
		{"the oldest of all", func(r *scriptRunner) {
			uncounted(r)
			entries(r, "500-0", "600-0")
			read(r, "1")
			parked(r, "a", "700", "700-0")
		}, "1 1 1 1 0 0 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newScriptRunner(rig.Shared(t).Conn(t), rig.Prefix(t)+":")
			r.set(1_000_000_000)
			c.store(r)
			heads := r.conn.CLI("ZRANGE", r.prefix+"heads:g", "0", "-1", "WITHSCORES")
			for _, args := range [][]string{{"g", "look"}, {"g"}} {
				got := strings.Split(r.eval("group", keys, args...), "\n")
				if len(got) == 8 && got[6] == "" {
					got[6] = "-"
				}
				if text := strings.Join(got, " "); text != c.want+" 1000000" {
					t.Errorf("%v: %s, want %s 1000000", args, text, c.want)
				}
				if now := r.conn.CLI("ZRANGE", r.prefix+"heads:g", "0", "-1", "WITHSCORES"); len(args) == 2 && now != heads {
					t.Errorf("look changed the heads from %q to %q", heads, now)
				}
			}
		})
	}
}

// topics.lua keeps the versions of a group. It forgets versions that were not seen for 100 ms. A
// version that returns after 50 ms starts again. It keeps three versions: the caller's and the two
// that were seen last.
func TestTopicsScript(t *testing.T) {
	t.Parallel()
	type call struct {
		at       int
		digest   string
		handlers string
		want     string // digest, first ms, last ms, handlers of each version that is returned
	}
	for name, calls := range map[string][]call{
		"one version":  {{0, "a", "x", "a 0 0 x"}, {10, "a", "x", "a 0 10 x"}},
		"two versions": {{0, "a", "x", "a 0 0 x"}, {10, "b", "y", "b 10 10 y|a 0 0 x"}, {20, "a", "x", "a 0 20 x|b 10 10 y"}},
		"begins again": {{0, "a", "x", "a 0 0 x"}, {49, "a", "x", "a 0 49 x"}, {99, "a", "x", "a 99 99 x"}},
		"forgotten":    {{0, "a", "x", "a 0 0 x"}, {99, "b", "y", "b 99 99 y|a 0 0 x"}, {100, "b", "y", "b 99 100 y"}},
		"three are kept": {{0, "a", "x", "a 0 0 x"}, {1, "b", "y", "b 1 1 y|a 0 0 x"},
			{2, "c", "z", "c 2 2 z|b 1 1 y|a 0 0 x"}, {3, "d", "", "d 3 3 |c 2 2 z|b 1 1 y"}},
		"the caller's is kept": {{5, "a", "x", "a 5 5 x"}, {5, "b", "y", "b 5 5 y|a 5 5 x"},
			{5, "c", "z", "c 5 5 z|a 5 5 x|b 5 5 y"}, {5, "d", "w", "d 5 5 w|a 5 5 x|b 5 5 y"}},
		"handlers with any bytes": {{0, "a", "x\ty z", "a 0 0 x\ty z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newScriptRunner(rig.Shared(t).Conn(t), rig.Prefix(t)+":")
			for _, c := range calls {
				r.set(int64(1000+c.at) * 1000)
				parts := strings.Split(r.eval("topics", []string{"topics"}, c.digest, c.handlers, "100", "50", "3"), "\n")
				var got []string
				for all := parts[1:]; len(all) >= 4; all = all[4:] {
					var first, last int
					_, err := fmt.Sscan(all[1]+" "+all[2], &first, &last)
					must(t, err)
					got = append(got, fmt.Sprintf("%s %d %d %s", all[0], first-1000, last-1000, all[3]))
				}
				if text := strings.Join(got, "|"); text != c.want || parts[0] != fmt.Sprint(1000+c.at) {
					t.Errorf("at %d: %q, want %q; now %s", c.at, text, c.want, parts[0])
				}
			}
		})
	}
}
