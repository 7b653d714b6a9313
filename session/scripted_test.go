package session_test

import (
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// lookLua deletes the keys that have expired by the clock, and returns the other keys.
//
// KEYS  …
// ARGV  now in ms
const lookLua = `
local all = {}
for _, k in ipairs(KEYS) do
  local at, v = redis.call('PEXPIRETIME', k), nil
  if at >= 0 and at < tonumber(ARGV[1]) then redis.call('DEL', k) end
  local sort = redis.call('TYPE', k).ok
  if sort == 'string' then v = redis.call('GET', k) end
  if sort == 'zset' then v = table.concat(redis.call('ZRANGE', k, 0, -1, 'WITHSCORES'), ',') end
  if v then all[#all + 1] = string.sub(k, #KEYS[1] + 1) .. ' ' .. v .. ' ' .. string.format('%.0f', at) end
end
return table.concat(all, '\n')`

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Fatalf(format string, args ...any)
}

// scripted runs the scripts on a real server.
type scripted struct {
	conn    *rig.Conn
	scripts map[string]string
	index   string
	clock   string
}

// newScripted returns the scripts for one index. Several indexes can share the scripts and their
// clock ([scripted.at]), because the server compiles each text of a script once.
func newScripted(conn *rig.Conn, index string) *scripted {
	s := &scripted{conn: conn, index: index, clock: index + ":clock"}
	s.scripts = session.Sources(s.clock)
	return s
}

// at returns the same scripts and clock with another index.
func (s *scripted) at(index string) *scripted {
	other := *s
	other.index = index
	return &other
}

func (s *scripted) do(t fataler, args ...string) string {
	reply := s.conn.CLI(args...)
	if strings.HasPrefix(reply, "(error)") {
		t.Fatalf("%q: %s", args, reply)
	}
	return reply
}

func (s *scripted) set(t fataler, micros, late int64) {
	s.do(t, "HSET", s.clock, "s", strconv.FormatInt(micros/aSecond, 10), "us",
		strconv.FormatInt(micros%aSecond, 10), "late", strconv.FormatInt(late, 10))
}

func (s *scripted) eval(t fataler, script string, keys []string, args ...string) string {
	return s.do(t, append(append([]string{"EVAL", s.scripts[script], strconv.Itoa(len(keys))}, keys...), args...)...)
}

func (s *scripted) look(t fataler, now int64, keys ...string) string {
	return s.do(t, append(append([]string{"EVAL", lookLua, strconv.Itoa(len(keys))}, keys...), strconv.FormatInt(now, 10))...)
}

func (s *scripted) key(id string) string { return s.index + ":s:" + id }

func (s *scripted) published(t fataler) string {
	published := strings.ReplaceAll(s.do(t, "LRANGE", s.index+":gone", "0", "-1"), "\n", "")
	s.do(t, "DEL", s.index+":gone")
	return published
}
