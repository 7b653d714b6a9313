package embedded

import (
	"slices"
	"strconv"
)

type list struct{ items []string }

func listCommands() map[string]*command {
	return map[string]*command{
		"LPUSH":     writer(-3, func(c *call) any { return pushTo(c, true, false) }),
		"RPUSH":     writer(-3, func(c *call) any { return pushTo(c, false, false) }),
		"LPUSHX":    writer(-3, func(c *call) any { return pushTo(c, true, true) }),
		"RPUSHX":    writer(-3, func(c *call) any { return pushTo(c, false, true) }),
		"LPOP":      writer(-2, func(c *call) any { return pop(c, true) }),
		"RPOP":      writer(-2, func(c *call) any { return pop(c, false) }),
		"LLEN":      reader(2, func(c *call) any { return withList(c, func(l *list) any { return int64(len(l.items)) }) }),
		"LRANGE":    reader(4, lrange),
		"LINDEX":    reader(3, lindex),
		"LSET":      writer(4, lset),
		"LREM":      writer(4, lrem),
		"LTRIM":     writer(4, ltrim),
		"LMOVE":     {run: lmove, args: 5, writes: true, first: 1, last: 2, step: 1},
		"RPOPLPUSH": {run: lmove, args: 3, writes: true, first: 1, last: 2, step: 1},
		"BLPOP":     {run: func(c *call) any { return blockingPop(c, true) }, args: -3, writes: true, first: 1, last: -2, step: 1},
		"BRPOP":     {run: func(c *call) any { return blockingPop(c, false) }, args: -3, writes: true, first: 1, last: -2, step: 1},
	}
}

func withList(c *call, use func(*list) any) any {
	l, absent, err := value[*list](c, c.args[0])
	if err != nil {
		return err
	}
	if absent {
		l = &list{}
	}
	return use(l)
}

func pushTo(c *call, front, only bool) any {
	l, absent, err := value[*list](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent && only:
		return int64(0)
	case absent:
		l = &list{}
	}
	given := slices.Clone(c.args[1:])
	if front {
		slices.Reverse(given)
		l.items = append(given, l.items...)
	} else {
		l.items = append(l.items, given...)
	}
	c.keep(absent, len(l.items), l)
	return int64(len(l.items))
}

// take removes up to n items from one end.
func (c *call) take(key string, l *list, front bool, n int) []string {
	n = min(n, len(l.items))
	var taken []string
	if front {
		taken = slices.Clone(l.items[:n])
		l.items = l.items[n:]
	} else {
		taken = slices.Clone(l.items[len(l.items)-n:])
		slices.Reverse(taken)
		l.items = l.items[:len(l.items)-n]
	}
	if len(l.items) == 0 {
		c.delete(key)
	} else if n > 0 {
		c.touched(key)
	}
	return taken
}

func pop(c *call, front bool) any {
	n := 1
	if len(c.args) > 1 {
		var err error
		if n, err = strconv.Atoi(c.args[1]); err != nil || n < 0 {
			return failure("ERR value is out of range, must be positive")
		}
	}
	l, absent, err := value[*list](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent && len(c.args) > 1:
		return noArray{}
	case absent:
		return nil
	}
	taken := c.take(c.args[0], l, front, n)
	if len(c.args) > 1 {
		return taken
	}
	return taken[0]
}

func lrange(c *call) any {
	return withList(c, func(l *list) any {
		start, end, err := bounds(c.args[1], c.args[2], len(l.items))
		if err != nil {
			return err
		}
		return slices.Clone(l.items[start:end])
	})
}

// at returns the position of an index. A negative index counts from the end.
func (l *list) at(text string) (i int, inside bool, err any) {
	i, bad := strconv.Atoi(text)
	if bad != nil {
		return 0, false, notInteger
	}
	if i < 0 {
		i += len(l.items)
	}
	return i, i >= 0 && i < len(l.items), nil
}

func lindex(c *call) any {
	return withList(c, func(l *list) any {
		i, inside, err := l.at(c.args[1])
		switch {
		case err != nil:
			return err
		case !inside:
			return nil
		}
		return l.items[i]
	})
}

func lset(c *call) any {
	return withList(c, func(l *list) any {
		if len(l.items) == 0 {
			return noSuchKey
		}
		i, inside, err := l.at(c.args[1])
		switch {
		case err != nil:
			return err
		case !inside:
			return failure("ERR index out of range")
		}
		l.items[i] = c.args[2]
		c.touched(c.args[0])
		return ok
	})
}

func lrem(c *call) any {
	most, err := strconv.Atoi(c.args[1])
	if err != nil {
		return notInteger
	}
	return withList(c, func(l *list) any {
		removed := int64(0)
		drop := func(item string) bool {
			if item != c.args[2] || most != 0 && removed == int64(max(most, -most)) {
				return false
			}
			removed++
			return true
		}
		if most < 0 {
			slices.Reverse(l.items)
		}
		l.items = slices.DeleteFunc(l.items, drop)
		if most < 0 {
			slices.Reverse(l.items)
		}
		if removed > 0 {
			c.keep(false, len(l.items), l)
		}
		return removed
	})
}

func ltrim(c *call) any {
	return withList(c, func(l *list) any {
		start, end, err := bounds(c.args[1], c.args[2], len(l.items))
		if err != nil {
			return err
		}
		if n := len(l.items); n > 0 && end-start < n {
			l.items = slices.Clone(l.items[start:end])
			c.keep(false, len(l.items), l)
		}
		return ok
	})
}

// lmove is LMOVE from to LEFT|RIGHT LEFT|RIGHT, and RPOPLPUSH.
func lmove(c *call) any {
	fromFront, toFront := false, true
	if c.name == "LMOVE" {
		fromFront, toFront = upper(c.args[2]) == "LEFT", upper(c.args[3]) == "LEFT"
	}
	from, absent, err := value[*list](c, c.args[0])
	if err != nil || absent {
		return err
	}
	if _, _, err := value[*list](c, c.args[1]); err != nil {
		return err
	}
	taken := c.take(c.args[0], from, fromFront, 1)
	to := *c
	to.args = []string{c.args[1], taken[0]}
	pushTo(&to, toFront, false)
	return taken[0]
}

func blockingPop(c *call, front bool) any {
	keys := c.args[:len(c.args)-1]
	limit, valid := seconds(c.args[len(c.args)-1])
	if !valid {
		return failure("ERR timeout is not a float or out of range")
	}
	return c.wait(keys, limit, noArray{}, func(c *call) (any, bool) {
		for _, key := range keys {
			l, absent, err := value[*list](c, key)
			switch {
			case err != nil:
				return err, true
			case !absent:
				return []any{key, c.take(key, l, front, 1)[0]}, true
			}
		}
		return nil, false
	})
}
