package embedded

// transaction has the queued commands of MULTI and the watched keys of WATCH on a connection.
type transaction struct {
	open    bool
	failed  bool // a queued command was refused
	spoiled bool // a watched key has changed
	queue   []queued
	watches []place
}

type queued struct {
	name string
	args []string
}

func (t *transaction) fail() {
	if t.open {
		t.failed = true
	}
}

func transactionCommands() map[string]*command {
	return map[string]*command{
		"MULTI":   plain(1, multi),
		"EXEC":    plain(1, exec),
		"DISCARD": plain(1, discard),
		"WATCH":   {run: watch, args: -2, plain: true},
		"UNWATCH": keyless(1, func(c *call) any { c.server.unwatch(c.conn); return ok }),
	}
}

func multi(c *call) any {
	if c.conn.transaction.open {
		return failure("ERR MULTI calls can not be nested")
	}
	c.conn.transaction.open = true
	return ok
}

func discard(c *call) any {
	if !c.conn.transaction.open {
		return failure("ERR DISCARD without MULTI")
	}
	c.server.unwatch(c.conn)
	c.conn.transaction = transaction{}
	return ok
}

func exec(c *call) any {
	t := c.conn.transaction
	if !t.open {
		return failure("ERR EXEC without MULTI")
	}
	c.server.unwatch(c.conn)
	c.conn.transaction = transaction{}
	switch {
	case t.failed:
		return failure("EXECABORT Transaction discarded because of previous errors.")
	case t.spoiled:
		return noArray{}
	}
	replies := make([]any, len(t.queue))
	for i, one := range t.queue {
		replies[i] = c.server.run(&call{
			server: c.server, conn: c.conn, space: c.server.spaces[c.conn.space], name: one.name, args: one.args,
			queued: true, command: c.server.table[one.name]})
	}
	return replies
}

func watch(c *call) any {
	if c.conn.transaction.open {
		return failure("ERR WATCH inside MULTI is not allowed")
	}
	for _, key := range c.args {
		at := place{c.space.number, key}
		if c.server.watched[at] == nil {
			c.server.watched[at] = map[*conn]struct{}{}
		}
		c.server.watched[at][c.conn] = struct{}{}
		c.conn.transaction.watches = append(c.conn.transaction.watches, at)
	}
	return ok
}

func (s *Server) unwatch(c *conn) {
	for _, at := range c.transaction.watches {
		delete(s.watched[at], c)
		if len(s.watched[at]) == 0 {
			delete(s.watched, at)
		}
	}
	c.transaction.watches, c.transaction.spoiled = nil, false
}
