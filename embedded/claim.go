package embedded

import (
	"slices"
	"strconv"
)

// claiming has the options of XCLAIM.
type claiming struct {
	at           int64
	count        int64 // negative: one more than before
	force, justs bool
}

func (o *claiming) read(c *call, args []string) any {
	for i := 0; i < len(args); i++ {
		option := upper(args[i])
		switch option {
		case "FORCE":
			o.force = true
			continue
		case "JUSTID":
			o.justs = true
			continue
		}
		if i++; i == len(args) {
			return syntaxError
		}
		if option == "LASTID" {
			continue
		}
		n, bad := strconv.ParseInt(args[i], 10, 64)
		if bad != nil {
			return notInteger
		}
		switch option {
		case "IDLE":
			o.at = c.nowMS() - n
		case "TIME":
			o.at = min(n, c.nowMS())
		case "RETRYCOUNT":
			o.count = n
		default:
			return syntaxError
		}
	}
	return nil
}

// xclaim is XCLAIM key group consumer min-idle id … [options].
func xclaim(c *call) any {
	s, g, err := groupOf(c, c.args[0], c.args[1])
	if err != nil {
		return err
	}
	idle, bad := strconv.ParseInt(c.args[3], 10, 64)
	if bad != nil {
		return failure("ERR Invalid min-idle-time argument for XCLAIM")
	}
	var ids []streamID
	rest := c.args[4:]
	for len(rest) > 0 {
		id, err := parseID(rest[0], 0)
		if err != nil {
			break
		}
		ids = append(ids, id)
		rest = rest[1:]
	}
	options := claiming{at: c.nowMS(), count: -1}
	if err := options.read(c, rest); err != nil {
		return err
	}
	to := g.consumer(c.args[2], c.nowMS())
	found := []any{}
	for _, id := range ids {
		if reply, claimed := g.claim(c, s, id, to, idle, options); claimed {
			found = append(found, reply)
		}
	}
	c.touched(c.args[0])
	return found
}

// claim assigns a pending entry to the consumer. An entry that was deleted from the stream is no
// longer pending.
func (g *group) claim(c *call, s *stream, id streamID, to *consumer, idle int64, options claiming) (reply any, claimed bool) {
	e, there := s.get(id)
	d := g.pending[id]
	if !there {
		g.ack(id)
		return nil, false
	}
	if d == nil && !options.force || d != nil && c.nowMS()-d.at < idle {
		return nil, false
	}
	d = g.deliver(id, to, options.at)
	to.active = c.nowMS()
	switch {
	case options.count >= 0:
		d.count = options.count
	case !options.justs:
		d.count++
	}
	if options.justs {
		return id.String(), true
	}
	return e.reply(), true
}

// xautoclaim is XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID].
func xautoclaim(c *call) any {
	s, g, err := groupOf(c, c.args[0], c.args[1])
	if err != nil {
		return err
	}
	idle, bad := strconv.ParseInt(c.args[3], 10, 64)
	if bad != nil {
		return failure("ERR Invalid min-idle-time argument for XAUTOCLAIM")
	}
	from, err := rangeLimit(c.args[4], false)
	if err != nil {
		return err
	}
	count, options := 100, claiming{at: c.nowMS(), count: -1}
	for i := 5; i < len(c.args); i++ {
		switch upper(c.args[i]) {
		case "JUSTID":
			options.justs = true
		case "COUNT":
			if i++; i == len(c.args) {
				return syntaxError
			}
			if count, bad = strconv.Atoi(c.args[i]); bad != nil || count < 1 {
				return failure("ERR COUNT must be > 0")
			}
		default:
			return syntaxError
		}
	}
	to := g.consumer(c.args[2], c.nowMS())
	found, gone, next := []any{}, []any{}, firstID
	attempts := count * 10
	for _, id := range slices.Clone(g.pendingFrom(from, lastID)) {
		if len(found) == count || attempts == 0 {
			next = id
			break
		}
		attempts--
		if _, there := s.get(id); !there {
			g.ack(id)
			gone = append(gone, id.String())
		} else if reply, claimed := g.claim(c, s, id, to, idle, options); claimed {
			found = append(found, reply)
		}
	}
	c.touched(c.args[0])
	return []any{next.String(), found, gone}
}
