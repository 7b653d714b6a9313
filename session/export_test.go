package session

import (
	"context"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Points returns the failpoints of a Manager. "write" is before each write, with its verb, on the
// goroutine of the caller.
func Points[T any](m *Manager[T]) *failpoint.Points { return &m.records.points }

// Key returns the key of the record of a token.
func Key[T any](m *Manager[T], token string) string {
	at, _, ok := parseToken(token)
	if !ok {
		panic("not a token")
	}
	return m.records.key(at)
}

// IndexKey returns the key of the index of a user.
func IndexKey[T any](m *Manager[T], user string) string { return m.records.index(m.records.tag(user)) }

// StoredHash returns the stored hash of the secret of a session.
func StoredHash[T any](s *Session[T]) string { return s.rec.hash }

// SetSkew sets the assumed difference between the clock of the server and the clock of this
// process, in ms.
func SetSkew[T any](m *Manager[T], ms int64) { m.records.skew.Store(ms) }

// Throttle returns min(idle/10, 1 min), in ms.
func Throttle(idle int64) int64 { return throttle(idle) }

// ParseToken splits a token and joins the parts again.
func ParseToken(text string) (again string, ok bool) {
	at, secret, ok := parseToken(text)
	return join(at, secret), ok
}

// CookieToken returns the token that Middleware reads from Cookie headers.
func CookieToken(lines []string, name string) string {
	return cookieToken(map[string][]string{"Cookie": lines}, name)
}

// ParseRecord decodes stored bytes as Load does, with the given keys.
func ParseRecord(raw string, keys [][]byte) (user, data string, ok bool) {
	rs := &records{opt: &Options{}, seal: newSealer(keys, false)}
	rec, err := rs.parse(address{tag: "tag", id: "id"}, raw)
	if err != nil {
		return "", "", false
	}
	return rec.user, rec.data, true
}

// RawRecord returns the bytes that the scripts would store, for ParseRecord.
func RawRecord(user, data string, keys [][]byte) string {
	rs := &records{opt: &Options{}, seal: newSealer(keys, false)}
	d := recordSpec{id: "id", secret: "secret", kind: kindUser, idle: time.Hour, lifetime: NoLifetime,
		payload: payload{user: user, data: data}}
	written, err := rs.sealSpec("tag", &d)
	if err != nil {
		panic(err)
	}
	r := written.record
	return "2L" + string(r.kind) + r.version + "0001000000000000" + "0001000000000" + "0000000000000" +
		"0000003600000" + r.link + r.hash + r.body
}

// Read reads the record of a session without its token.
func Read[T any](ctx context.Context, m *Manager[T], s *Session[T]) error {
	_, err := m.records.read(ctx, s.rec.at)
	return err
}

// Sources returns the scripts with a clock that the test sets. The hash clockKey holds the clock: s
// and us are the reply to TIME. A relative TTL counts from late ms later, as if the clock moved
// while the script runs.
func Sources(clockKey string) map[string]string {
	all := map[string]string{
		"create": createScript.Source(), "save": saveScript.Source(), "touch": touchScript.Source(), "end": endScript.Source(),
		"end user": endUserScript.Source(), "move begin": moveBeginScript.Source(),
		"move undo": moveUndoScript.Source(), "move finish": moveFinishScript.Source(),
		"recall": recallScript.Source(),
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
