package embedded

import (
	"math"
	"strconv"
)

func stringCommands() map[string]*command {
	return map[string]*command{
		"GET":         reader(2, get),
		"SET":         writer(-3, setString),
		"SETNX":       writer(3, func(c *call) any { return c.setIfAbsent(c.args) }),
		"MSETNX":      {run: func(c *call) any { return c.setIfAbsent(c.args) }, args: -3, writes: true, first: 1, last: -1, step: 2},
		"SETEX":       writer(4, func(c *call) any { return setFor(c, 1e6) }),
		"PSETEX":      writer(4, func(c *call) any { return setFor(c, 1e3) }),
		"GETSET":      writer(3, getSet),
		"GETDEL":      writer(2, getDel),
		"GETEX":       writer(-2, getEx),
		"MGET":        {run: mget, args: -2, reads: true, first: 1, last: -1, step: 1},
		"MSET":        {run: mset, args: -3, writes: true, first: 1, last: -1, step: 2},
		"INCR":        writer(2, func(c *call) any { return increase(c, "1", 1) }),
		"DECR":        writer(2, func(c *call) any { return increase(c, "1", -1) }),
		"INCRBY":      writer(3, func(c *call) any { return increase(c, c.args[1], 1) }),
		"DECRBY":      writer(3, func(c *call) any { return increase(c, c.args[1], -1) }),
		"INCRBYFLOAT": writer(3, increaseFloat),
		"APPEND":      writer(3, appendString),
		"STRLEN":      reader(2, func(c *call) any { return with(c, func(s string) any { return int64(len(s)) }) }),
		"GETRANGE":    reader(4, getRange),
		"SETRANGE":    writer(4, setRange),
	}
}

// with calls a function with the string of the call's key, "" if there is no key.
func with(c *call, use func(string) any) any {
	s, _, err := value[string](c, c.args[0])
	if err != nil {
		return err
	}
	return use(s)
}

// store stores a string without an expiry.
func (c *call) store(key, value string) *entry {
	e := c.space.put(key, value)
	c.space.expire(e, 0)
	c.touched(key)
	return e
}

func get(c *call) any {
	s, absent, err := value[string](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent:
		return nil
	}
	return s
}

// setString is SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL].
func setString(c *call) any {
	key, given := c.args[0], c.args[1]
	var onlyNew, onlyOld, answersOld, keep bool
	at := int64(0)
	for i := 2; i < len(c.args); i++ {
		switch option := upper(c.args[i]); option {
		case "NX":
			onlyNew = true
		case "XX":
			onlyOld = true
		case "GET":
			answersOld = true
		case "KEEPTTL":
			keep = true
		case "EX", "PX", "EXAT", "PXAT":
			if i++; i == len(c.args) || at != 0 {
				return syntaxError
			}
			var err any
			if at, err = expiryOption(c, option, c.args[i]); err != nil {
				return err
			}
		default:
			return syntaxError
		}
	}
	if onlyNew && onlyOld || keep && at != 0 {
		return syntaxError
	}
	e := c.space.get(key)
	var old any
	if answersOld && e != nil {
		s, is := e.value.(string)
		if !is {
			return wrongType
		}
		old = s
	}
	if onlyNew && e != nil || onlyOld && e == nil {
		return old
	}
	if keep && e != nil {
		at = e.at
	}
	c.space.expire(c.store(key, given), at)
	if answersOld {
		return old
	}
	return ok
}

func expiryOption(c *call, option, text string) (at int64, err any) {
	n, bad := strconv.ParseInt(text, 10, 64)
	if bad != nil {
		return 0, notInteger
	}
	unit := int64(1e6)
	if option[0] == 'P' {
		unit = 1e3
	}
	at, valid := instant(c, n, unit, option == "EX" || option == "PX")
	if !valid || n <= 0 {
		return 0, failure("ERR invalid expire time in '" + lower(c.name) + "' command")
	}
	return at, nil
}

func (c *call) setIfAbsent(args []string) any {
	if len(args)%2 == 1 {
		return wrongCount(c.name)
	}
	for i := 0; i < len(args); i += 2 {
		if c.space.get(args[i]) != nil {
			return int64(0)
		}
	}
	for i := 0; i < len(args); i += 2 {
		c.store(args[i], args[i+1])
	}
	return int64(1)
}

func setFor(c *call, unit int64) any {
	option := "EX"
	if unit == 1e3 {
		option = "PX"
	}
	at, err := expiryOption(c, option, c.args[1])
	if err != nil {
		return err
	}
	c.space.expire(c.store(c.args[0], c.args[2]), at)
	return ok
}

func getSet(c *call) any {
	old := get(c)
	if _, failed := old.(failure); !failed {
		c.store(c.args[0], c.args[1])
	}
	return old
}

func getDel(c *call) any {
	old := get(c)
	if _, failed := old.(failure); !failed {
		c.delete(c.args[0])
	}
	return old
}

// getEx is GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST].
func getEx(c *call) any {
	old := get(c)
	e := c.space.get(c.args[0])
	if _, failed := old.(failure); failed || e == nil || len(c.args) == 1 {
		return old
	}
	option := upper(c.args[1])
	switch {
	case option == "PERSIST" && len(c.args) == 2:
		c.space.expire(e, 0)
	case (option == "EX" || option == "PX" || option == "EXAT" || option == "PXAT") && len(c.args) == 3:
		at, err := expiryOption(c, option, c.args[2])
		if err != nil {
			return err
		}
		c.space.expire(e, at)
	default:
		return syntaxError
	}
	c.touched(e.key)
	return old
}

func mget(c *call) any {
	found := make([]any, len(c.args))
	for i, key := range c.args {
		if s, absent, err := value[string](c, key); !absent && err == nil {
			found[i] = s
		}
	}
	return found
}

func mset(c *call) any {
	if len(c.args)%2 == 1 {
		return wrongCount(c.name)
	}
	for i := 0; i < len(c.args); i += 2 {
		c.store(c.args[i], c.args[i+1])
	}
	return ok
}

func increase(c *call, by string, sign int64) any {
	n, err := strconv.ParseInt(by, 10, 64)
	if err != nil {
		return notInteger
	}
	return with(c, func(s string) any {
		sum, err := addTo(s, sign*n)
		if err != nil {
			return err
		}
		c.space.put(c.args[0], strconv.FormatInt(sum, 10))
		c.touched(c.args[0])
		return sum
	})
}

// addTo adds to the number in a text; "" is 0.
func addTo(text string, n int64) (sum int64, err any) {
	if text != "" {
		var bad error
		if sum, bad = strconv.ParseInt(text, 10, 64); bad != nil {
			return 0, notInteger
		}
	}
	if n > 0 && sum > math.MaxInt64-n || n < 0 && sum < math.MinInt64-n {
		return 0, failure("ERR increment or decrement would overflow")
	}
	return sum + n, nil
}

func increaseFloat(c *call) any {
	by, valid := parseFloat(c.args[1])
	if !valid {
		return notFloat
	}
	return with(c, func(s string) any {
		sum, valid := 0.0, true
		if s != "" {
			sum, valid = parseFloat(s)
		}
		if sum += by; !valid || math.IsInf(sum, 0) {
			return notFloat
		}
		text := strconv.FormatFloat(sum, 'f', -1, 64)
		c.space.put(c.args[0], text)
		c.touched(c.args[0])
		return text
	})
}

func appendString(c *call) any {
	return with(c, func(s string) any {
		c.space.put(c.args[0], s+c.args[1])
		c.touched(c.args[0])
		return int64(len(s) + len(c.args[1]))
	})
}

// bounds converts the two ends of a range of n elements. Negative ends count from the end.
func bounds(from, to string, n int) (start, end int, err any) {
	a, bad1 := strconv.Atoi(from)
	b, bad2 := strconv.Atoi(to)
	if bad1 != nil || bad2 != nil {
		return 0, 0, notInteger
	}
	if a < 0 {
		a = max(a+n, 0)
	}
	if b < 0 {
		b += n
	}
	b = min(b+1, n)
	if a >= b {
		return 0, 0, nil
	}
	return a, b, nil
}

func getRange(c *call) any {
	return with(c, func(s string) any {
		start, end, err := bounds(c.args[1], c.args[2], len(s))
		if err != nil {
			return err
		}
		return s[start:end]
	})
}

func setRange(c *call) any {
	offset, err := strconv.Atoi(c.args[1])
	if err != nil || offset < 0 || offset > maxBulk-len(c.args[2]) {
		return failure("ERR offset is out of range")
	}
	return with(c, func(s string) any {
		if c.args[2] == "" {
			return int64(len(s))
		}
		buf := make([]byte, max(len(s), offset+len(c.args[2])))
		copy(buf, s)
		copy(buf[offset:], c.args[2])
		c.space.put(c.args[0], string(buf))
		c.touched(c.args[0])
		return int64(len(buf))
	})
}
