package embedded

import (
	"slices"
	"strings"
)

// maxTracked is how many keys are remembered for near caches, as in Redis: beyond, one is forgotten
// and its readers hear that it changed.
const maxTracked = 1_000_000

// tracking is CLIENT TRACKING: who has read which key since it last changed.
type tracking struct {
	readers   map[string]map[*conn]struct{}
	broadcast map[*conn]struct{}
	outbox    []invalidation // of the command that runs: it goes out after the command's own answer
	inScript  bool           // NOLOOP does not hold for broadcasts about what a script writes, as in Redis
}

type invalidation struct {
	to  *conn
	key any // a string, or nil for all keys
}

// trackingMode is what a connection asked for.
type trackingMode struct {
	on, broadcast, optIn, optOut, noLoop bool
	prefixes                             []string
	caching                              *bool // CLIENT CACHING for the next command
}

// remember records that a connection has read a key.
func (t *tracking) remember(key string, by *conn) {
	mode := &by.tracked
	if !mode.on || mode.broadcast || mode.optIn && (mode.caching == nil || !*mode.caching) || mode.optOut && mode.caching != nil && !*mode.caching {
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

// invalidate tells the readers of a key, once, that it has changed: with NOLOOP not the connection
// that changed it.
func (t *tracking) invalidate(key string, by *conn) {
	for reader := range t.readers[key] {
		t.tell(reader, key, by)
	}
	delete(t.readers, key)

	if t.inScript {
		by = nil
	}
	for reader := range t.broadcast {
		matched := slices.ContainsFunc(reader.tracked.prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
		if matched && !slices.Contains(t.outbox, invalidation{reader, key}) { // a key once per command
			t.tell(reader, key, by)
		}
	}
}

func (t *tracking) tell(reader *conn, key any, by *conn) {
	if reader.tracked.on && (reader != by || !reader.tracked.noLoop) {
		t.outbox = append(t.outbox, invalidation{reader, key})
	}
}

// flush tells every tracked connection that any key may have changed.
func (t *tracking) flush(all map[*conn]struct{}) {
	for c := range all {
		t.tell(c, nil, nil)
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

// leave forgets a connection. Its keys go as they change: a walk over all of them would cost every
// closed connection.
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
