package session

import (
	"context"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Points of a Manager: "write" comes before each write, with its verb, on the caller's goroutine.
func Points[T any](m *Manager[T]) *failpoint.Points { return &m.records.points }

// Key is the key of a session's record.
func Key[T any](m *Manager[T], token string) string {
	at, _, ok := parseToken(token)
	if !ok {
		panic("not a token")
	}
	return m.records.key(at)
}

// IndexKey is the key of a user's index.
func IndexKey[T any](m *Manager[T], user string) string { return m.records.index(m.records.tag(user)) }

// StoredHash is what is stored of a session's secret.
func StoredHash[T any](s *Session[T]) string { return s.rec.hash }

// Skewed sets this process' idea of the server's clock, in ms ahead of its own.
func Skewed[T any](m *Manager[T], ms int64) { m.records.skew.Store(ms) }

// Throttle is min(idle/10, 1 min), in ms.
func Throttle(idle int64) int64 { return throttle(idle) }

// ParseToken takes a token apart and puts it together again.
func ParseToken(text string) (again string, ok bool) {
	at, secret, ok := parseToken(text)
	return join(at, secret), ok
}

// CookieToken is what Middleware takes from a request's Cookie headers.
func CookieToken(lines []string, name string) string {
	return cookieToken(map[string][]string{"Cookie": lines}, name)
}

// ParseRecord reads stored bytes as Load does, with the keys given.
func ParseRecord(raw string, keys [][]byte) (user, data string, ok bool) {
	rs := &records{opt: &Options{}, seal: newSealer(keys, false)}
	rec, err := rs.parse(address{tag: "tag", id: "id"}, raw)
	if err != nil {
		return "", "", false
	}
	return rec.user, rec.data, true
}

// RawRecord is a record as the scripts would write it, for ParseRecord.
func RawRecord(user, data string, keys [][]byte) string {
	rs := &records{opt: &Options{}, seal: newSealer(keys, false)}
	d := draft{id: "id", secret: "secret", kind: kindUser, idle: time.Hour, lifetime: NoLimit, payload: payload{user: user, data: data}}
	written, err := rs.write("tag", &d)
	if err != nil {
		panic(err)
	}
	r := written.record
	return "2L" + string(r.kind) + r.version + "0001000000000000" + "0001000000000" + "0000000000000" + "0000003600000" + r.link + r.hash + r.body
}

// Read reads a session's record without a token, for the tests' own look.
func Read[T any](ctx context.Context, m *Manager[T], s *Session[T]) error {
	_, err := m.records.read(ctx, s.rec.at)
	return err
}

// Sources are the scripts as the server gets them, but on a clock of the test's, which lies in a hash: s and us are the answer to TIME,
// and what is to live for a while lives from late ms after it, as on a server whose clock moves on while a script runs.
func Sources(clockKey string) map[string]string {
	all := map[string]string{
		"create": createScript.Source(), "save": saveScript.Source(), "touch": touchScript.Source(), "end": endScript.Source(),
		"end user": endUserScript.Source(), "move begin": moveBeginScript.Source(), "move undo": moveUndoScript.Source(), "move finish": moveFinishScript.Source(), "recall": recallScript.Source(),
		"commit": commitScript.Source(), "delete": deleteScript.Source(),
	}
	for name, source := range all {
		all[name] = strings.ReplaceAll(clockLua, "CLOCK", clockKey) + source
	}
	return all
}

const clockLua = `
local server, redis = redis, {}
local function on(call, ...)
  local c, a = server.call('HMGET', 'CLOCK', 's', 'us', 'late'), {...}
  if a[1] == 'TIME' then return c end
  for i = 4, #a do
    if a[i] == 'PX' then
      a[i], a[i + 1] = 'PXAT', string.format('%.0f', c[1] * 1000 + math.floor(c[2] / 1000) + c[3] + a[i + 1])
    end
  end
  return call(unpack(a))
end
function redis.call(...) return on(server.call, ...) end
function redis.pcall(...) return on(server.pcall, ...) end
`
