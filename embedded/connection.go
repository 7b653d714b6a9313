package embedded

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func upper(s string) string { return strings.ToUpper(s) }

func unknownSubcommand(c *call) failure {
	return failure(fmt.Sprintf("ERR unknown subcommand '%.128s'. Try %s HELP.", c.args[0], c.name))
}

func connectionCommands() map[string]*command {
	accept := func(*call) any { return ok }
	return map[string]*command{
		"PING":  keyless(-1, ping),
		"ECHO":  keyless(2, func(c *call) any { return c.args[0] }),
		"HELLO": plain(-1, hello),
		"AUTH": plain(-2, func(*call) any {
			return failure("ERR AUTH <password> called without any password configured for the default user. " +
				"Are you sure your configuration is correct?")
		}),
		"SELECT":    keyless(2, selectSpace),
		"QUIT":      plain(-1, accept),
		"RESET":     plain(1, reset),
		"READONLY":  keyless(1, accept),
		"READWRITE": keyless(1, accept),
		"WAIT":      keyless(3, func(*call) any { return int64(0) }),
		"CLIENT":    keyless(-2, client),
		"INFO":      keyless(-1, func(c *call) any { return c.server.info(c.args) }),
		"COMMAND":   keyless(-1, func(*call) any { return []any{} }),
		"TIME":      keyless(1, serverTime),
	}
}

func ping(c *call) any {
	switch {
	case len(c.args) > 1:
		return wrongCount(c.name)
	case c.conn.proto == 2 && c.conn.subscribed.any():
		return push{"pong", strings.Join(c.args, "")}
	case len(c.args) == 1:
		return c.args[0]
	}
	return status("PONG")
}

// hello is HELLO [version [AUTH user password] [SETNAME name]].
func hello(c *call) any {
	proto := c.conn.proto
	name, named := "", false
	if len(c.args) > 0 {
		version, err := strconv.Atoi(c.args[0])
		if err != nil || version < 2 || version > 3 {
			return failure("NOPROTO unsupported protocol version")
		}
		proto = version
		for i := 1; i < len(c.args); i++ {
			switch {
			case upper(c.args[i]) == "AUTH" && i+2 < len(c.args):
				return failure("WRONGPASS invalid username-password pair or user is disabled.")
			case upper(c.args[i]) == "SETNAME" && i+1 < len(c.args):
				i++
				name, named = c.args[i], true
			default:
				return syntaxError
			}
		}
	}
	if named {
		c.conn.name = name
	}
	c.conn.proto = proto
	return pairs{
		"server", "redstart", "version", version, "proto", int64(proto), "id", c.conn.id,
		"mode", "standalone", "role", "master", "modules", []any{},
	}
}

func selectSpace(c *call) any {
	n, err := strconv.Atoi(c.args[0])
	if err != nil || n < 0 || n >= databases {
		return failure("ERR DB index is out of range")
	}
	c.conn.space = n
	return ok
}

func reset(c *call) any {
	s, conn := c.server, c.conn
	s.channels.leave(conn)
	s.tracking.leave(conn)
	s.unwatch(conn)
	conn.transaction, conn.proto, conn.space, conn.name = transaction{}, 2, 0, ""
	return status("RESET")
}

func serverTime(c *call) any {
	return []any{strconv.FormatInt(c.now()/1e6, 10), strconv.FormatInt(c.now()%1e6, 10)}
}

func client(c *call) any {
	args := c.args[1:]
	switch upper(c.args[0]) {
	case "ID":
		return c.conn.id
	case "SETNAME":
		if len(args) != 1 || strings.ContainsAny(args[0], " \n") {
			return failure("ERR Client names cannot contain spaces, newlines or special characters.")
		}
		c.conn.name = args[0]
		return ok
	case "GETNAME":
		return c.conn.name
	case "SETINFO", "NO-EVICT", "NO-TOUCH":
		return ok
	case "TRACKING":
		return clientTracking(c, args)
	case "CACHING":
		return clientCaching(c, args)
	case "LIST":
		var lines strings.Builder
		for _, other := range c.server.sortedConns() {
			lines.WriteString(other.line())
		}
		return lines.String()
	case "INFO":
		return c.conn.line()
	case "KILL":
		return clientKill(c, args)
	case "UNBLOCK":
		return clientUnblock(c, args)
	}
	return unknownSubcommand(c)
}

func (s *Server) sortedConns() []*conn {
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *conn) int { return int(a.id - b.id) })
	return all
}

func (c *conn) kind() string {
	if c.subscribed.any() {
		return "pubsub"
	}
	return "normal"
}

func (c *conn) line() string {
	return fmt.Sprintf("id=%d addr=%s name=%s db=%d sub=%d resp=%d\n",
		c.id, c.nc.RemoteAddr(), c.name, c.space, c.subscribed.count(), c.proto)
}

// clientKill is CLIENT KILL [ID id] [TYPE normal|pubsub] [ADDR addr] [SKIPME yes|no].
func clientKill(c *call, args []string) any {
	if len(args) == 0 || len(args)%2 == 1 {
		return syntaxError
	}
	skip := true
	var wanted []func(*conn) bool
	for i := 0; i < len(args); i += 2 {
		value := args[i+1]
		switch upper(args[i]) {
		case "ID":
			wanted = append(wanted, func(other *conn) bool { return strconv.FormatInt(other.id, 10) == value })
		case "TYPE":
			wanted = append(wanted, func(other *conn) bool { return other.kind() == value })
		case "ADDR":
			wanted = append(wanted, func(other *conn) bool { return other.nc.RemoteAddr().String() == value })
		case "SKIPME":
			skip = !strings.EqualFold(value, "no")
		default:
			return syntaxError
		}
	}
	killed := int64(0)
	for _, other := range c.server.sortedConns() {
		if other == c.conn && skip || slices.ContainsFunc(wanted, func(want func(*conn) bool) bool { return !want(other) }) {
			continue
		}
		other.close()
		c.server.blocked.remove(other.waits)
		killed++
	}
	return killed
}

func clientUnblock(c *call, args []string) any {
	if len(args) == 0 {
		return syntaxError
	}
	for other := range c.server.conns {
		if strconv.FormatInt(other.id, 10) != args[0] || other.waits == nil {
			continue
		}
		reply := other.waits.empty
		if len(args) == 2 && upper(args[1]) == "ERROR" {
			reply = failure("UNBLOCKED client unblocked via CLIENT UNBLOCK")
		}
		c.server.blocked.answer(other.waits, reply)
		return int64(1)
	}
	return int64(0)
}

// seconds reads a timeout of a blocking command, in seconds with a fraction.
func seconds(text string) (time.Duration, bool) {
	f, valid := parseFloat(text)
	return time.Duration(f * float64(time.Second)), valid && f >= 0 && f < 1e9
}

func lower(s string) string { return strings.ToLower(s) }
