package embedded

import (
	"strconv"
	"strings"
)

func keyCommands() map[string]*command {
	commands := map[string]*command{
		"DEL":       {run: del, args: -2, writes: true, first: 1, last: -1, step: 1},
		"UNLINK":    {run: del, args: -2, writes: true, first: 1, last: -1, step: 1},
		"EXISTS":    {run: exists, args: -2, reads: true, first: 1, last: -1, step: 1},
		"TOUCH":     {run: exists, args: -2, reads: true, first: 1, last: -1, step: 1},
		"TYPE":      reader(2, func(c *call) any { return status(typeOf(c.space.get(c.args[0]))) }),
		"PERSIST":   writer(2, persist),
		"RENAME":    {run: rename, args: 3, writes: true, first: 1, last: 2, step: 1},
		"RENAMENX":  {run: rename, args: 3, writes: true, first: 1, last: 2, step: 1},
		"SCAN":      keyless(-2, scan),
		"KEYS":      keyless(2, keys),
		"DBSIZE":    keyless(1, func(c *call) any { return int64(len(c.space.keys)) }),
		"RANDOMKEY": keyless(1, randomKey),
		"FLUSHDB":   {run: flush, args: -1, writes: true},
		"FLUSHALL":  {run: flush, args: -1, writes: true},
	}
	for name, answer := range map[string]func(c *call, at int64) int64{
		"TTL":         func(c *call, at int64) int64 { return (at - c.now() + 5e5) / 1e6 },
		"PTTL":        func(c *call, at int64) int64 { return (at - c.now() + 999) / 1e3 },
		"EXPIRETIME":  func(_ *call, at int64) int64 { return at / 1e6 },
		"PEXPIRETIME": func(_ *call, at int64) int64 { return at / 1e3 },
	} {
		commands[name] = reader(2, func(c *call) any {
			e := c.space.get(c.args[0])
			switch {
			case e == nil:
				return int64(-2)
			case e.at == 0:
				return int64(-1)
			}
			return answer(c, e.at)
		})
	}
	for name, how := range map[string]struct {
		unit     int64
		relative bool
	}{"EXPIRE": {1e6, true}, "PEXPIRE": {1e3, true}, "EXPIREAT": {1e6, false}, "PEXPIREAT": {1e3, false}} {
		commands[name] = writer(-3, func(c *call) any { return expire(c, how.unit, how.relative) })
	}
	return commands
}

func typeOf(e *entry) string {
	if e == nil {
		return "none"
	}
	switch e.value.(type) {
	case string:
		return "string"
	case hash:
		return "hash"
	case set:
		return "set"
	case *sorted:
		return "zset"
	case *list:
		return "list"
	}
	return "stream"
}

// value returns the value of a key. absent is true if there is no key. A key of another type is a
// failure.
func value[T any](c *call, key string) (v T, absent bool, err any) {
	e := c.space.get(key)
	if e == nil {
		return v, true, nil
	}
	v, is := e.value.(T)
	if !is {
		return v, false, wrongType
	}
	return v, false, nil
}

// delete removes a key, if it exists.
func (c *call) delete(key string) bool {
	e := c.space.get(key)
	if e == nil {
		return false
	}
	c.space.remove(e)
	c.touched(key)
	return true
}

func del(c *call) any {
	n := int64(0)
	for _, key := range c.args {
		if c.delete(key) {
			n++
		}
	}
	return n
}

func exists(c *call) any {
	n := int64(0)
	for _, key := range c.args {
		if c.space.get(key) != nil {
			n++
		}
	}
	return n
}

func persist(c *call) any {
	e := c.space.get(c.args[0])
	if e == nil || e.at == 0 {
		return int64(0)
	}
	c.space.expire(e, 0)
	c.touched(e.key)
	return int64(1)
}

// expire is EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT: key, time, [NX|XX|GT|LT].
func expire(c *call, unit int64, relative bool) any {
	n, err := strconv.ParseInt(c.args[1], 10, 64)
	if err != nil {
		return notInteger
	}
	at, valid := instant(c, n, unit, relative)
	if !valid {
		return failure("ERR invalid expire time in '" + strings.ToLower(c.name) + "' command")
	}
	e := c.space.get(c.args[0])
	if e == nil {
		return int64(0)
	}
	for _, option := range c.args[2:] {
		stays := false
		switch upper(option) {
		case "NX":
			stays = e.at != 0
		case "XX":
			stays = e.at == 0
		case "GT":
			stays = e.at == 0 || at <= e.at
		case "LT":
			stays = e.at != 0 && at >= e.at
		default:
			return failure("ERR Unsupported option " + option)
		}
		if stays {
			return int64(0)
		}
	}
	if at <= c.now() {
		c.delete(e.key)
		return int64(1)
	}
	c.space.expire(e, at)
	c.touched(e.key)
	return int64(1)
}

// instant is a time in microseconds since 1970.
func instant(c *call, n, unit int64, relative bool) (int64, bool) {
	const most = int64(1) << 62
	if n > most/unit || n < -most/unit {
		return 0, false
	}
	at := n * unit
	if relative {
		at += c.now()
	}
	return max(at, 1), true
}

func rename(c *call) any {
	from, to := c.space.get(c.args[0]), c.args[1]
	switch {
	case from == nil:
		return noSuchKey
	case c.name == "RENAMENX" && c.space.get(to) != nil:
		return int64(0)
	}
	if from.key != to {
		held, at := from.value, from.at
		c.delete(from.key)
		c.delete(to)
		c.space.expire(c.space.put(to, held), at)
		c.touched(to)
	}
	if c.name == "RENAMENX" {
		return int64(1)
	}
	return ok
}

// scan is SCAN cursor [MATCH pattern] [COUNT n] [TYPE type].
func scan(c *call) any {
	cursor, err := strconv.ParseUint(c.args[0], 10, 64)
	if err != nil {
		return failure("ERR invalid cursor")
	}
	pattern, count, kind := "*", 10, ""
	for i := 1; i < len(c.args); i += 2 {
		if i+1 == len(c.args) {
			return syntaxError
		}
		switch option := c.args[i+1]; upper(c.args[i]) {
		case "MATCH":
			pattern = option
		case "TYPE":
			kind = strings.ToLower(option)
		case "COUNT":
			if count, err = strconv.Atoi(option); err != nil || count < 1 {
				return syntaxError
			}
		default:
			return syntaxError
		}
	}
	entries, next := c.space.scan(cursor, count)
	found := []any{}
	for _, e := range entries {
		if matches(pattern, e.key) && (kind == "" || kind == typeOf(e)) {
			found = append(found, e.key)
		}
	}
	return []any{strconv.FormatUint(next, 10), found}
}

func keys(c *call) any {
	found := []any{}
	for _, e := range c.space.order {
		if matches(c.args[0], e.key) {
			found = append(found, e.key)
		}
	}
	return found
}

func randomKey(c *call) any {
	if e := c.space.random(); e != nil {
		return e.key
	}
	return nil
}

func flush(c *call) any {
	s := c.server
	for i, space := range s.spaces {
		if c.name == "FLUSHDB" && space != c.space {
			continue
		}
		for key := range space.keys {
			s.blocked.wake(place{i, key})
		}
		for at, watchers := range s.watched {
			if at.space == i {
				for watcher := range watchers {
					watcher.transaction.spoiled = true
				}
			}
		}
		*space = *newKeyspace(i)
	}
	s.tracking.flush(s.conns)
	return ok
}
