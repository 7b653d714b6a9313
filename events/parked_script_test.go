package events_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// parked.lua cuts the oldest parked events, and none that an owner holds. The clock stands at
// 1,000,000 ms.
func TestParkedScript(t *testing.T) {
	t.Parallel()
	keys := []string{"heads", "retry", "parked:", "tries", "group", "lease"}
	for _, c := range []struct {
		name      string
		lists     map[string]string // the ids of a channel's parked events, by channel
		handedOut string            // channels whose lists are handed out to an owner
		owner     string
		retention string
		cap       string
		hands     []string
		want      string // number of cut events, 1 if there is more
		left      map[string]string
	}{
		{"nothing to cut", map[string]string{"a": "300 301"}, "", "", "0", "2", nil, "0 0", map[string]string{"a": "300 301"}},
		{"the oldest go first", map[string]string{"a": "300 301 302", "b": "301 400"}, "", "", "0", "2", nil, "3 0",
			map[string]string{"a": "302", "b": "400"}},
		{"beyond retention", map[string]string{"a": "300 301", "b": "301 400"}, "", "", "999699", "0", nil, "1 0",
			map[string]string{"a": "301", "b": "301 400"}},
		{"a list that ends", map[string]string{"a": "300 301", "b": "400"}, "", "", "999650", "0", nil, "2 0",
			map[string]string{"b": "400"}},
		{"behind the caller's hands", map[string]string{"a": "300 301 302 303 304"}, "a", "token", "0", "3", []string{"a", "2"}, "2 0",
			map[string]string{"a": "300 301 304"}},
		{"behind the caller's hands, beyond retention", map[string]string{"a": "300 301 302 303 304"}, "a", "token",
			"999697", "0", []string{"a", "1"}, "2 0",
			map[string]string{"a": "300 303 304"}},
		{"all in the caller's hands", map[string]string{"a": "300 301", "b": "400"}, "a", "token", "0", "1",
			[]string{"a", "2"}, "1 0", map[string]string{"a": "300 301"}},
		{"in another owner's hands", map[string]string{"a": "300 301", "b": "400 401"}, "a", "other", "0", "1", []string{"a", "0"}, "2 0",
			map[string]string{"a": "300 301"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newScriptRunner(rig.Shared(t).Conn(t), rig.Prefix(t)+":")
			r.set(1_000_000_000)
			count := 0
			for channel, ids := range c.lists {
				for i, id := range strings.Fields(ids) {
					if i == 0 {
						r.conn.CLI("ZADD", r.prefix+"heads", id, channel)
					}
					r.conn.CLI("RPUSH", r.prefix+"parked:"+channel, id+"-0 e body")
					r.conn.CLI("HSET", r.prefix+"tries", channel+id, "1")
					count++
				}
				r.conn.CLI("ZADD", r.prefix+"retry", "5", channel)
			}
			r.conn.CLI("HSET", r.prefix+"group", "parked", fmt.Sprint(count))
			if c.owner != "" {
				r.conn.CLI("SET", r.prefix+"lease", c.owner)
				r.conn.CLI("ZADD", r.prefix+"retry", "1000000000000000", c.handedOut)
			}

			got := strings.ReplaceAll(r.eval("parked", keys,
				append([]string{"token", c.retention, c.cap, "1000000"}, c.hands...)...), "\n", " ")

			if got != c.want {
				t.Errorf("replies %s, want %s", got, c.want)
			}
			left := 0
			for channel := range c.lists {
				ids := strings.Fields(c.left[channel])
				left += len(ids)
				list := strings.Join(ids, "-0 e body\n")
				if len(ids) > 0 {
					list += "-0 e body"
				}
				if is := r.conn.CLI("LRANGE", r.prefix+"parked:"+channel, "0", "-1"); is != list {
					t.Errorf("%s has %q, want %q", channel, is, list)
				}
				for _, index := range []string{"heads", "retry"} {
					if is := r.conn.CLI("ZSCORE", r.prefix+index, channel) != ""; is != (len(ids) > 0) {
						t.Errorf("%s in %s: %t", channel, index, is)
					}
				}
			}
			if is := "0" + r.conn.CLI("HGET", r.prefix+"group", "parked"); is != fmt.Sprint("0", left) {
				t.Errorf("the group counts %s parked events, %d are left", is, left)
			}
			if is := "0" + r.conn.CLI("HGET", r.prefix+"group", "cut"); count != left && is != fmt.Sprint("0", count-left) {
				t.Errorf("the group counts %s cut events of %d", is, count-left)
			}
		})
	}
}
