package embedded

import (
	"math"
	"slices"
	"strconv"
)

func groupCommands() map[string]*command {
	second := func(args int, run func(*call) any) *command {
		return &command{run: run, args: args, writes: true, first: 2, last: 2, step: 1}
	}
	return map[string]*command{
		"XGROUP":     second(-3, xgroup),
		"XINFO":      {run: xinfo, args: -3, reads: true, first: 2, last: 2, step: 1},
		"XREADGROUP": {run: xreadgroup, args: -7, writes: true},
		"XACK":       writer(-4, xack),
		"XPENDING":   reader(-3, xpending),
		"XCLAIM":     writer(-6, xclaim),
		"XAUTOCLAIM": writer(-6, xautoclaim),
	}
}

func (c *call) nowMS() int64 { return c.now() / 1000 }

// groupOf returns a group, or the failure that names it.
func groupOf(c *call, key, name string) (*stream, *group, any) {
	s, absent, err := value[*stream](c, key)
	if err != nil {
		return nil, nil, err
	}
	if absent || s.groups[name] == nil {
		return nil, nil, failure("NOGROUP No such key '" + key + "' or consumer group '" + name + "' in " + c.name)
	}
	return s, s.groups[name], nil
}

// xgroup is XGROUP CREATE|SETID|DESTROY|CREATECONSUMER|DELCONSUMER key group …
func xgroup(c *call) any {
	if len(c.args) < 3 {
		return wrongCount(c.name)
	}
	key, name, rest := c.args[1], c.args[2], c.args[3:]
	action := upper(c.args[0])
	s, absent, err := value[*stream](c, key)
	switch {
	case err != nil:
		return err
	case action == "CREATE":
		return createGroup(c, s, absent, key, name, rest)
	case absent:
		return errNoStream
	}
	g := s.groups[name]
	if action == "DESTROY" {
		if g == nil {
			return int64(0)
		}
		delete(s.groups, name)
		c.touched(key)
		return int64(1)
	}
	if g == nil {
		return failure("NOGROUP No such consumer group '" + name + "' for key name '" + key + "'")
	}
	if len(rest) == 0 {
		return wrongCount(c.name)
	}
	switch action {
	case "SETID":
		if g.last, err = groupStart(s, rest[0]); err != nil {
			return err
		}
		c.touched(key)
		return ok
	case "CREATECONSUMER":
		if g.consumers[rest[0]] != nil {
			return int64(0)
		}
		g.consumer(rest[0], c.nowMS())
		return int64(1)
	case "DELCONSUMER":
		gone := g.consumers[rest[0]]
		if gone == nil {
			return int64(0)
		}
		n := gone.pending
		for _, id := range slices.Clone(g.order) {
			if g.pending[id].consumer == gone {
				g.ack(id)
			}
		}
		delete(g.consumers, rest[0])
		return n
	}
	return unknownSubcommand(c)
}

func groupStart(s *stream, text string) (streamID, any) {
	if text == "$" {
		return s.last, nil
	}
	return parseID(text, 0)
}

func createGroup(c *call, s *stream, absent bool, key, name string, rest []string) any {
	if len(rest) == 0 {
		return wrongCount(c.name)
	}
	make, read := false, int64(-1)
	for i := 1; i < len(rest); i++ {
		switch upper(rest[i]) {
		case "MKSTREAM":
			make = true
		case "ENTRIESREAD":
			if i++; i == len(rest) {
				return syntaxError
			}
			var bad error
			if read, bad = strconv.ParseInt(rest[i], 10, 64); bad != nil {
				return notInteger
			}
		default:
			return syntaxError
		}
	}
	if absent {
		if !make {
			return errNoStream
		}
		s = &stream{}
	}
	from, err := groupStart(s, rest[0])
	if err != nil {
		return err
	}
	if s.groups[name] != nil {
		return failure("BUSYGROUP Consumer Group name already exists")
	}
	if s.groups == nil {
		s.groups = map[string]*group{}
	}
	s.groups[name] = newGroup(from, read)
	if absent {
		c.space.put(key, s)
	}
	c.touched(key)
	return ok
}

// xreadgroup is XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key … id …
func xreadgroup(c *call) any {
	keys, ids := afterStreams(c.args)
	if upper(c.args[0]) != "GROUP" || len(keys) == 0 {
		return failure("ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.")
	}
	name, consumer := c.args[1], c.args[2]
	var options readOptions
	if err := options.read(c.args[3 : len(c.args)-2*len(keys)-1]); err != nil {
		return err
	}
	history := false
	for i, key := range keys {
		_, g, err := groupOf(c, key, name)
		if err != nil {
			return err
		}
		g.consumer(consumer, c.nowMS())
		history = history || ids[i] != ">"
	}
	try := func(c *call) (any, bool) {
		found := pairs{}
		for i, key := range keys {
			s, g, err := groupOf(c, key, name)
			if err != nil {
				return err, true
			}
			if ids[i] != ">" {
				after, err := parseID(ids[i], 0)
				if err != nil {
					return err, true
				}
				found = append(found, key, g.history(s, consumer, after, options.count))
				continue
			}
			if entries := g.fresh(c, s, consumer, options); len(entries) > 0 {
				c.touched(key)
				found = append(found, key, entryReplies(entries))
			}
		}
		return streamsReply(c, found), len(found) > 0
	}
	if history || !options.blocks {
		if reply, ready := try(c); ready {
			return reply
		}
		return noArray{}
	}
	return c.wait(keys, options.limit, noArray{}, try)
}

// fresh delivers entries that the group has not read yet.
func (g *group) fresh(c *call, s *stream, name string, options readOptions) []streamEntry {
	if !g.last.less(s.last) {
		return nil
	}
	entries := s.between(g.last.next(), lastID)
	if options.count > 0 {
		entries = entries[:min(options.count, len(entries))]
	}
	if len(entries) == 0 {
		return nil
	}
	to := g.consumer(name, c.nowMS())
	to.active = c.nowMS()
	for _, e := range entries {
		if !options.noAck {
			g.deliver(e.id, to, c.nowMS()).count = 1
		}
		g.last = e.id
	}
	if g.read >= 0 {
		g.read += int64(len(entries))
	}
	return entries
}

// history returns the pending entries of the consumer after an id. A deleted entry has no fields.
func (g *group) history(s *stream, name string, after streamID, count int) []any {
	found := []any{}
	if after == lastID {
		return found
	}
	for _, id := range g.pendingFrom(after.next(), lastID) {
		if g.pending[id].consumer.name != name {
			continue
		}
		if count > 0 && len(found) == count {
			break
		}
		if e, is := s.get(id); is {
			found = append(found, e.reply())
		} else {
			found = append(found, []any{id.String(), noArray{}})
		}
	}
	return found
}

func xack(c *call) any {
	s, absent, err := value[*stream](c, c.args[0])
	if err != nil {
		return err
	}
	n := int64(0)
	for _, text := range c.args[2:] {
		id, err := parseID(text, 0)
		if err != nil {
			return err
		}
		if !absent && s.groups[c.args[1]] != nil && s.groups[c.args[1]].ack(id) {
			n++
		}
	}
	if n > 0 {
		c.touched(c.args[0])
	}
	return n
}

// xpending is XPENDING key group [[IDLE ms] start end count [consumer]].
func xpending(c *call) any {
	_, g, err := groupOf(c, c.args[0], c.args[1])
	if err != nil {
		return err
	}
	rest := c.args[2:]
	if len(rest) == 0 {
		return g.summary()
	}
	idle := int64(0)
	if upper(rest[0]) == "IDLE" && len(rest) > 1 {
		var bad error
		if idle, bad = strconv.ParseInt(rest[1], 10, 64); bad != nil {
			return notInteger
		}
		rest = rest[2:]
	}
	if len(rest) < 3 || len(rest) > 4 {
		return syntaxError
	}
	from, err := rangeLimit(rest[0], false)
	if err != nil {
		return err
	}
	to, err := rangeLimit(rest[1], true)
	if err != nil {
		return err
	}
	count, bad := strconv.Atoi(rest[2])
	if bad != nil {
		return notInteger
	}
	found := []any{}
	for _, id := range g.pendingFrom(from, to) {
		d := g.pending[id]
		if len(found) >= count {
			break
		}
		if c.nowMS()-d.at < idle || len(rest) == 4 && d.consumer.name != rest[3] {
			continue
		}
		found = append(found, []any{id.String(), d.consumer.name, max(c.nowMS()-d.at, 0), d.count})
	}
	return found
}

func (g *group) summary() any {
	if len(g.order) == 0 {
		return []any{int64(0), nil, nil, noArray{}}
	}
	consumers := []any{}
	for _, one := range g.sortedConsumers() {
		if one.pending > 0 {
			consumers = append(consumers, []any{one.name, strconv.FormatInt(one.pending, 10)})
		}
	}
	return []any{int64(len(g.order)), g.order[0].String(), g.order[len(g.order)-1].String(), consumers}
}

// xinfo is XINFO STREAM|GROUPS|CONSUMERS key [group].
func xinfo(c *call) any {
	s, absent, err := value[*stream](c, c.args[1])
	switch {
	case err != nil:
		return err
	case absent:
		return noSuchKey
	}
	switch upper(c.args[0]) {
	case "STREAM":
		var first, last any
		if n := len(s.entries); n > 0 {
			first, last = s.entries[0].reply(), s.entries[n-1].reply()
		}
		oldest := streamID{}
		if len(s.entries) > 0 {
			oldest = s.entries[0].id
		}
		return pairs{"length", int64(len(s.entries)), "radix-tree-keys", int64(1), "radix-tree-nodes", int64(2),
			"last-generated-id", s.last.String(),
			"max-deleted-entry-id", s.deleted.String(), "entries-added", s.added, "recorded-first-entry-id", oldest.String(),
			"groups", int64(len(s.groups)), "first-entry", first, "last-entry", last}
	case "GROUPS":
		return groupsReply(s)
	case "CONSUMERS":
		if len(c.args) != 3 {
			return wrongCount(c.name)
		}
		_, g, err := groupOf(c, c.args[1], c.args[2])
		if err != nil {
			return err
		}
		found := []any{}
		for _, one := range g.sortedConsumers() {
			found = append(found, pairs{"name", one.name, "pending", one.pending, "idle", max(c.nowMS()-one.seen, 0)})
		}
		return found
	}
	return unknownSubcommand(c)
}

func groupsReply(s *stream) any {
	names := make([]string, 0, len(s.groups))
	for name := range s.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	found := []any{}
	for _, name := range names {
		g := s.groups[name]
		var read, lag any
		if g.read >= 0 {
			read = g.read
		}
		if unread := s.between(g.next(), lastID); g.last != lastID {
			lag = int64(len(unread))
		}
		found = append(found, pairs{"name", name, "consumers", int64(len(g.consumers)), "pending", int64(len(g.order)),
			"last-delivered-id", g.last.String(), "entries-read", read, "lag", lag})
	}
	return found
}

func (g *group) next() streamID {
	if g.last.ms == math.MaxUint64 && g.last.seq == math.MaxUint64 {
		return g.last
	}
	return g.last.next()
}
