package embedded

import (
	"maps"
	"slices"
	"strconv"
)

type hash map[string]string

func hashCommands() map[string]*command {
	return map[string]*command{
		"HGET":    reader(3, func(c *call) any { return withHash(c, func(h hash) any { return field(h, c.args[1]) }) }),
		"HSET":    writer(-4, hset),
		"HMSET":   writer(-4, hset),
		"HSETNX":  writer(4, hsetnx),
		"HMGET":   reader(-3, hmget),
		"HGETALL": reader(2, hgetall),
		"HKEYS":   reader(2, func(c *call) any { return withHash(c, func(h hash) any { return slices.Sorted(maps.Keys(h)) }) }),
		"HVALS":   reader(2, hvals),
		"HDEL":    writer(-3, hdel),
		"HLEN":    reader(2, func(c *call) any { return withHash(c, func(h hash) any { return int64(len(h)) }) }),
		"HSTRLEN": reader(3, func(c *call) any { return withHash(c, func(h hash) any { return int64(len(h[c.args[1]])) }) }),
		"HEXISTS": reader(3, func(c *call) any {
			return withHash(c, func(h hash) any { _, is := h[c.args[1]]; return number(is) })
		}),
		"HINCRBY":      writer(4, hincrby),
		"HINCRBYFLOAT": writer(4, hincrbyfloat),
		"HSCAN":        reader(-3, hscan),
	}
}

// number returns 1 for true and 0 for false.
func number(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

func withHash(c *call, use func(hash) any) any {
	h, _, err := value[hash](c, c.args[0])
	if err != nil {
		return err
	}
	return use(h)
}

// changeHash calls a function with the hash of the call's key, or with a new hash. The function
// reports whether it has changed the hash. An empty hash is removed.
func changeHash(c *call, change func(hash) (reply any, changed bool)) any {
	h, absent, err := value[hash](c, c.args[0])
	if err != nil {
		return err
	}
	if absent {
		h = hash{}
	}
	reply, changed := change(h)
	if changed {
		c.keep(absent, len(h), h)
	}
	return reply
}

// keep stores a collection that the call has changed, or removes an empty one.
func (c *call) keep(absent bool, left int, value any) {
	key := c.args[0]
	switch {
	case left == 0:
		c.delete(key)
	case absent:
		c.space.put(key, value)
		c.touched(key)
	default:
		c.touched(key)
	}
}

func field(h hash, name string) any {
	if v, is := h[name]; is {
		return v
	}
	return nil
}

func hset(c *call) any {
	fields := c.args[1:]
	if len(fields)%2 == 1 {
		return wrongCount(c.name)
	}
	return changeHash(c, func(h hash) (any, bool) {
		before := len(h)
		for i := 0; i < len(fields); i += 2 {
			h[fields[i]] = fields[i+1]
		}
		if c.name == "HMSET" {
			return ok, true
		}
		return int64(len(h) - before), true
	})
}

func hsetnx(c *call) any {
	return changeHash(c, func(h hash) (any, bool) {
		if _, is := h[c.args[1]]; is {
			return int64(0), false
		}
		h[c.args[1]] = c.args[2]
		return int64(1), true
	})
}

func hmget(c *call) any {
	return withHash(c, func(h hash) any {
		found := make([]any, len(c.args)-1)
		for i, name := range c.args[1:] {
			found[i] = field(h, name)
		}
		return found
	})
}

func hgetall(c *call) any {
	return withHash(c, func(h hash) any {
		all := pairs{}
		for _, name := range slices.Sorted(maps.Keys(h)) {
			all = append(all, name, h[name])
		}
		return all
	})
}

func hvals(c *call) any {
	return withHash(c, func(h hash) any {
		all := []any{}
		for _, name := range slices.Sorted(maps.Keys(h)) {
			all = append(all, h[name])
		}
		return all
	})
}

func hdel(c *call) any {
	return changeHash(c, func(h hash) (any, bool) {
		before := len(h)
		for _, name := range c.args[1:] {
			delete(h, name)
		}
		return int64(before - len(h)), before > len(h)
	})
}

func hincrby(c *call) any {
	n, bad := strconv.ParseInt(c.args[2], 10, 64)
	if bad != nil {
		return notInteger
	}
	return changeHash(c, func(h hash) (any, bool) {
		sum, err := addTo(h[c.args[1]], n)
		if err != nil {
			if err == notInteger {
				err = failure("ERR hash value is not an integer")
			}
			return err, false
		}
		h[c.args[1]] = strconv.FormatInt(sum, 10)
		return sum, true
	})
}

func hincrbyfloat(c *call) any {
	by, valid := parseFloat(c.args[2])
	if !valid {
		return notFloat
	}
	return changeHash(c, func(h hash) (any, bool) {
		sum, valid := 0.0, true
		if text := h[c.args[1]]; text != "" {
			sum, valid = parseFloat(text)
		}
		if !valid {
			return failure("ERR hash value is not a float"), false
		}
		h[c.args[1]] = strconv.FormatFloat(sum+by, 'f', -1, 64)
		return h[c.args[1]], true
	})
}

// hscan returns all fields at once, because a hash is never larger than a reply may be.
func hscan(c *call) any {
	pattern, err := scanOptions(c.args[2:])
	if err != nil {
		return err
	}
	return withHash(c, func(h hash) any {
		found := []any{}
		for _, name := range slices.Sorted(maps.Keys(h)) {
			if matches(pattern, name) {
				found = append(found, name, h[name])
			}
		}
		return []any{"0", found}
	})
}

// scanOptions reads [MATCH pattern] [COUNT n] of HSCAN, SSCAN and ZSCAN.
func scanOptions(args []string) (pattern string, err any) {
	pattern = "*"
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return "", syntaxError
		}
		switch upper(args[i]) {
		case "MATCH":
			pattern = args[i+1]
		case "COUNT":
		default:
			return "", syntaxError
		}
	}
	return pattern, nil
}
