package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// copies has a script that copies what a key holds: a stream entry n times into the stream, or a
// key to n keys whose name has another user key. It runs in parts, so that the server answers
// others in between.
const copies = `
local from = tonumber(ARGV[2])
if redis.call('TYPE', KEYS[1]).ok == 'stream' then
	local entry = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][2]
	for _ = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', unpack(entry)) end
	return redis.call('XLEN', KEYS[1])
end
local value = redis.call('DUMP', KEYS[1])
for i = from, from + tonumber(ARGV[1]) - 1 do
	redis.call('RESTORE', (string.gsub(KEYS[1], '{.*}', '{copy' .. i .. '}')), 600000, value, 'REPLACE')
end
return redis.call('DBSIZE')`

// With a million keys, 10,000 locks and a million dead letters, each page answers within a second.
// The control is the same page of a small namespace on the same server: a busy machine delays both.
func TestPagesAnswerWithinASecondForLargeStates(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	large, small := open(t, server.URL(), "large"), open(t, server.URL(), "small")
	for _, client := range []*redstart.Client{large, small} {
		fill(t, client, "users", "ada")
		hold(t, client, "invoice")
		die(t, client, "shop", "mailer", "users:7")
		logIn(t, client, "web", "ada", 1)
	}
	grow(t, server, "*large:cache:users:*ada*", 1_000_000, 1_000_000)
	grow(t, server, "*large:lock:*invoice*", 10_000, 10_000)
	grow(t, server, "*large:events:shop:*dead*", 1_000_000, 1_000_000)

	sites := map[string]*site{"large": serve(t, large, console.Options{}), "small": serve(t, small, console.Options{})}
	for path, want := range map[string]string{
		"/": "All nodes answer.", "/caches": "keys examined", "/caches" + query("cache", "users", "key", "ada"): "Hit: a read serves",
		"/locks": "Locks in use", "/locks" + query("name", "invoice"): "holder-1", "/events": "mailer",
		"/events" + query("bus", "shop", "group", "mailer"): "cause ", "/sessions" + query("manager", "web", "user", "ada"): "192.0.2.7",
		"/server": "redis",
	} {
		took := map[string]time.Duration{}
		for name, s := range sites {
			var got answer
			for range 5 { // a busy machine delays a step of a scan
				began := time.Now()
				got = s.get(path)
				took[name] = time.Since(began)
				if !strings.Contains(got.body, "did not answer in time") {
					break
				}
			}
			got.expect(t, name+path, want)
			if strings.Contains(got.body, "did not answer in time") {
				t.Errorf("%s of the %s state has a part without an answer", path, name)
			}
			if len(got.body) > 1<<20 {
				t.Errorf("%s of the %s state has %d bytes", path, name, len(got.body))
			}
		}
		t.Logf("%s: large %v, small %v", path, took["large"], took["small"])
		if limit := time.Second + 10*took["small"]; took["large"] > limit {
			t.Errorf("%s takes %v for the large state and %v for the small one", path, took["large"], took["small"])
		}
	}
}

// grow copies the one key that matches a pattern, or its stream entry, until there are n.
func grow(t *testing.T, server *rig.Server, pattern string, n, want int) {
	t.Helper()
	reply := must(server.Do("EVAL", `return redis.call('KEYS', ARGV[1])`, "0", pattern))(t)
	keys, _ := reply.([]any)
	if len(keys) == 0 {
		t.Fatalf("no key matches %s", pattern)
	}
	key := fmt.Sprint(keys[0])
	for _, other := range keys {
		if kind := must(server.Do("TYPE", fmt.Sprint(other)))(t); kind == "stream" {
			key = fmt.Sprint(other)
		}
	}
	const part = 20_000
	var grown any
	for from := 0; from < n; from += part {
		grown = must(server.Do("EVAL", copies, "1", key, fmt.Sprint(min(part, n-from)), fmt.Sprint(from)))(t)
	}
	if got, _ := grown.(int64); got < int64(want) {
		t.Fatalf("%s grew to %v, want %d", key, grown, want)
	}
}
