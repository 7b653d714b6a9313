package embedded

import (
	"maps"
	"slices"
)

// space of channels: plain ones, patterns, and shard channels.
type kind struct{ subscribe, unsubscribe, message string }

var (
	plainChannels   = kind{"subscribe", "unsubscribe", "message"}
	patternChannels = kind{"psubscribe", "punsubscribe", "pmessage"}
	shardChannels   = kind{"ssubscribe", "sunsubscribe", "smessage"}
)

// channels has the subscriptions of all connections.
type channels struct {
	of map[kind]map[string]map[*conn]struct{}
}

// subscriptions has the subscriptions of one connection.
type subscriptions struct{ of map[kind]map[string]struct{} }

func (s *subscriptions) any() bool { return s.count() > 0 }

func (s *subscriptions) count() (n int64) {
	for _, names := range s.of {
		n += int64(len(names))
	}
	return n
}

func channelCommands() map[string]*command {
	commands := map[string]*command{
		"PUBLISH":  keyless(3, func(c *call) any { return c.publish(plainChannels, c.args[0], c.args[1]) }),
		"SPUBLISH": keyless(3, func(c *call) any { return c.publish(shardChannels, c.args[0], c.args[1]) }),
		"PUBSUB":   keyless(-2, pubsub),
	}
	for _, of := range []struct {
		prefix string
		kind   kind
	}{{"", plainChannels}, {"P", patternChannels}, {"S", shardChannels}} {
		commands[of.prefix+"SUBSCRIBE"] = plain(-2, func(c *call) any { return c.subscribe(of.kind) })
		commands[of.prefix+"UNSUBSCRIBE"] = plain(-1, func(c *call) any { return c.unsubscribe(of.kind) })
	}
	return commands
}

func (c *call) subscribe(of kind) any {
	if c.script {
		return failure("ERR This Redis command is not allowed from script")
	}
	all := &c.server.channels
	if all.of == nil {
		all.of = map[kind]map[string]map[*conn]struct{}{}
	}
	if all.of[of] == nil {
		all.of[of] = map[string]map[*conn]struct{}{}
	}
	own := &c.conn.subscribed
	if own.of == nil {
		own.of = map[kind]map[string]struct{}{}
	}
	if own.of[of] == nil {
		own.of[of] = map[string]struct{}{}
	}
	for _, name := range c.args {
		if all.of[of][name] == nil {
			all.of[of][name] = map[*conn]struct{}{}
		}
		all.of[of][name][c.conn] = struct{}{}
		own.of[of][name] = struct{}{}
		c.conn.send(push{of.subscribe, name, c.conn.counted(of)})
	}
	return silence{}
}

func (c *call) unsubscribe(of kind) any {
	names := c.args
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(c.conn.subscribed.of[of]))
	}
	for _, name := range names {
		c.server.channels.drop(of, name, c.conn)
		c.conn.send(push{of.unsubscribe, name, c.conn.counted(of)})
	}
	if len(names) == 0 {
		c.conn.send(push{of.unsubscribe, nil, c.conn.counted(of)})
	}
	return silence{}
}

// counted returns the number of subscriptions of a connection for a reply. Shard channels have a
// count of their own.
func (c *conn) counted(of kind) int64 {
	shards := int64(len(c.subscribed.of[shardChannels]))
	if of == shardChannels {
		return shards
	}
	return c.subscribed.count() - shards
}

func (all *channels) drop(of kind, name string, c *conn) {
	delete(c.subscribed.of[of], name)
	delete(all.of[of][name], c)
	if len(all.of[of][name]) == 0 {
		delete(all.of[of], name)
	}
}

func (all *channels) leave(c *conn) {
	for of, names := range c.subscribed.of {
		for name := range names {
			all.drop(of, name, c)
		}
	}
}

func (c *call) publish(of kind, channel, message string) any {
	all, n := &c.server.channels, int64(0)
	for to := range all.of[of][channel] {
		to.send(push{of.message, channel, message})
		n++
	}
	if of != plainChannels {
		return n
	}
	for pattern, subscribers := range all.of[patternChannels] {
		if !matches(pattern, channel) {
			continue
		}
		for to := range subscribers {
			to.send(push{patternChannels.message, pattern, channel, message})
			n++
		}
	}
	return n
}

func pubsub(c *call) any {
	all, args := &c.server.channels, c.args[1:]
	names := func(of kind) any {
		found := []any{}
		for _, name := range slices.Sorted(maps.Keys(all.of[of])) {
			if len(args) == 0 || matches(args[0], name) {
				found = append(found, name)
			}
		}
		return found
	}
	numbers := func(of kind) any {
		found := []any{}
		for _, name := range args {
			found = append(found, name, int64(len(all.of[of][name])))
		}
		return found
	}
	switch upper(c.args[0]) {
	case "CHANNELS":
		return names(plainChannels)
	case "SHARDCHANNELS":
		return names(shardChannels)
	case "NUMSUB":
		return numbers(plainChannels)
	case "SHARDNUMSUB":
		return numbers(shardChannels)
	case "NUMPAT":
		return int64(len(all.of[patternChannels]))
	}
	return unknownSubcommand(c)
}
