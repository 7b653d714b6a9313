package embedded

import (
	"slices"
	"strings"
)

// maxTracked limits the number of tracked keys, as in Redis. Beyond it the server forgets one key
// and sends its readers an invalidation.
const maxTracked = 1_000_000

// tracking is CLIENT TRACKING: the connections that have read each key since its last change.
type tracking struct {
	readers   map[string]map[*conn]struct{}
	broadcast map[*conn]struct{}
	outbox    []invalidation // of the running command: sent after the reply of the command
	inScript  bool           // NOLOOP does not apply to broadcasts of the writes of a script, as in Redis
}

type invalidation struct {
	to  *conn
	key any // a string, or nil for all keys
}

// trackingMode has the tracking options of a connection.
type trackingMode struct {
	on, broadcast, optIn, optOut, noLoop bool
	prefixes                             []string
	caching                              *bool // CLIENT CACHING for the next command
}

// remember records that a connection has read a key.
func (t *tracking) remember(key string, by *conn) {
	mode := &by.tracked
	notOptedIn := mode.optIn && (mode.caching == nil || !*mode.caching)
	optedOut := mode.optOut && mode.caching != nil && !*mode.caching
	if !mode.on || mode.broadcast || notOptedIn || optedOut {
		return
	}
	if t.readers == nil {
		t.readers = map[string]map[*conn]struct{}{}
	}
	readers := t.readers[key]
	if readers == nil {
		if len(t.readers) >= maxTracked {
			for other := range t.readers {
				t.invalidate(other, nil)
				break
			}
		}
		readers = map[*conn]struct{}{}
		t.readers[key] = readers
	}
	readers[by] = struct{}{}
}

// invalidate sends each reader of a key one invalidation. With NOLOOP the connection that changed
// the key receives none.
func (t *tracking) invalidate(key string, by *conn) {
	for reader := range t.readers[key] {
		t.notify(reader, key, by)
	}
	delete(t.readers, key)

	if t.inScript {
		by = nil
	}
	for reader := range t.broadcast {
		matched := slices.ContainsFunc(reader.tracked.prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
		if matched && !slices.Contains(t.outbox, invalidation{reader, key}) { // a key once per command
			t.notify(reader, key, by)
		}
	}
}

func (t *tracking) notify(reader *conn, key any, by *conn) {
	if reader.tracked.on && (reader != by || !reader.tracked.noLoop) {
		t.outbox = append(t.outbox, invalidation{reader, key})
	}
}

// flush sends each tracked connection an invalidation of all keys.
func (t *tracking) flush(all map[*conn]struct{}) {
	for c := range all {
		t.notify(c, nil, nil)
	}
	clear(t.readers)
}

func (t *tracking) deliver() {
	for _, one := range t.outbox {
		keys := any(nil)
		if one.key != nil {
			keys = []any{one.key}
		}
		if one.to.proto == 3 {
			one.to.send(push{"invalidate", keys})
		}
	}
	clear(t.outbox)
	t.outbox = t.outbox[:0]
}

// leave forgets a connection. Its keys leave the table when they change, because a walk over all
// keys per closed connection is too expensive.
func (t *tracking) leave(c *conn) {
	delete(t.broadcast, c)
	c.tracked = trackingMode{}
}

// clientTracking is CLIENT TRACKING on|off [BCAST] [PREFIX p …] [OPTIN] [OPTOUT] [NOLOOP].
func clientTracking(c *call, args []string) any {
	if len(args) == 0 {
		return syntaxError
	}
	mode := trackingMode{}
	for i := 1; i < len(args); i++ {
		switch strings.ToUpper(args[i]) {
		case "BCAST":
			mode.broadcast = true
		case "OPTIN":
			mode.optIn = true
		case "OPTOUT":
			mode.optOut = true
		case "NOLOOP":
			mode.noLoop = true
		case "PREFIX":
			if i++; i == len(args) {
				return syntaxError
			}
			mode.prefixes = append(mode.prefixes, args[i])
		case "REDIRECT":
			return failure("ERR REDIRECT is not supported by the embedded engine; use RESP3")
		default:
			return syntaxError
		}
	}
	t := &c.server.tracking
	switch strings.ToUpper(args[0]) {
	case "OFF":
		t.leave(c.conn)
		return ok
	case "ON":
	default:
		return syntaxError
	}
	if mode.optIn && mode.optOut || mode.broadcast && (mode.optIn || mode.optOut) || !mode.broadcast && len(mode.prefixes) > 0 {
		return failure("ERR these options of CLIENT TRACKING exclude each other")
	}
	mode.on = true
	t.leave(c.conn)
	if mode.broadcast {
		if len(mode.prefixes) == 0 {
			mode.prefixes = []string{""}
		}
		if t.broadcast == nil {
			t.broadcast = map[*conn]struct{}{}
		}
		t.broadcast[c.conn] = struct{}{}
	}
	c.conn.tracked = mode
	return ok
}

func clientCaching(c *call, args []string) any {
	if len(args) != 1 {
		return syntaxError
	}
	yes := strings.EqualFold(args[0], "yes")
	switch mode := &c.conn.tracked; {
	case !yes && !strings.EqualFold(args[0], "no"):
		return syntaxError
	case yes && !mode.optIn:
		return failure("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	case !yes && !mode.optOut:
		return failure("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
	default:
		mode.caching = &yes
	}
	return ok
}
