package embedded

import (
	"maps"
	"slices"
	"strconv"
)

func sortedSetCommands() map[string]*command {
	commands := map[string]*command{
		"ZADD":    writer(-4, zadd),
		"ZINCRBY": writer(4, zincrby),
		"ZREM":    writer(-3, zrem),
		"ZCARD":   reader(2, func(c *call) any { return withSorted(c, func(z *sorted) any { return int64(len(z.order)) }) }),
		"ZSCORE":  reader(3, func(c *call) any { return withSorted(c, func(z *sorted) any { return z.score(c.args[1]) }) }),
		"ZMSCORE": reader(-3, func(c *call) any {
			return withSorted(c, func(z *sorted) any {
				found := []any{}
				for _, member := range c.args[1:] {
					found = append(found, z.score(member))
				}
				return found
			})
		}),
		"ZRANK":    reader(3, func(c *call) any { return rank(c, false) }),
		"ZREVRANK": reader(3, func(c *call) any { return rank(c, true) }),
		"ZPOPMIN":  writer(-2, func(c *call) any { return zpop(c, false) }),
		"ZPOPMAX":  writer(-2, func(c *call) any { return zpop(c, true) }),
		"ZSCAN":    reader(-3, zscan),
		"ZRANGE":   reader(-4, zrange),
	}
	for name, r := range map[string]zsetRange{
		"ZREVRANGE": {by: byRank, reverse: true}, "ZRANGEBYSCORE": {by: byScore}, "ZREVRANGEBYSCORE": {by: byScore, reverse: true},
		"ZRANGEBYLEX": {by: byMember}, "ZREVRANGEBYLEX": {by: byMember, reverse: true},
	} {
		commands[name] = reader(-4, func(c *call) any { return r.answer(c, c.args[3:]) })
	}
	for name, by := range map[string]int{"ZREMRANGEBYRANK": byRank, "ZREMRANGEBYSCORE": byScore, "ZREMRANGEBYLEX": byMember} {
		commands[name] = writer(4, func(c *call) any {
			return changeSorted(c, func(z *sorted) (any, bool) {
				start, end, err := zsetRange{by: by}.part(z, c.args[1], c.args[2])
				if err != nil {
					return err, false
				}
				return z.cut(start, end), end > start
			})
		})
	}
	for name, by := range map[string]int{"ZCOUNT": byScore, "ZLEXCOUNT": byMember} {
		commands[name] = reader(4, func(c *call) any {
			return withSorted(c, func(z *sorted) any {
				start, end, err := zsetRange{by: by}.part(z, c.args[1], c.args[2])
				if err != nil {
					return err
				}
				return int64(end - start)
			})
		})
	}
	return commands
}

func (z *sorted) score(member string) any {
	if score, is := z.scores[member]; is {
		return score
	}
	return nil
}

// zadd is ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member …
func zadd(c *call) any {
	options := map[string]bool{}
	rest := c.args[1:]
	for len(rest) > 0 {
		switch option := upper(rest[0]); option {
		case "NX", "XX", "GT", "LT", "CH", "INCR":
			options[option] = true
			rest = rest[1:]
			continue
		}
		break
	}
	excluded := options["NX"] && (options["XX"] || options["GT"] || options["LT"]) || options["GT"] && options["LT"]
	if len(rest) == 0 || len(rest)%2 == 1 || excluded || options["INCR"] && len(rest) > 2 {
		return syntaxError
	}
	scores := make([]float64, len(rest)/2)
	for i := range scores {
		var valid bool
		if scores[i], valid = parseFloat(rest[2*i]); !valid {
			return notFloat
		}
	}
	return changeSorted(c, func(z *sorted) (any, bool) {
		added, changed, last := int64(0), int64(0), any(nil)
		for i, score := range scores {
			member := rest[2*i+1]
			old, is := z.scores[member]
			if options["INCR"] && is {
				score += old
			}
			if is && (options["NX"] || options["GT"] && score <= old || options["LT"] && score >= old) || !is && options["XX"] {
				continue
			}
			last = score
			z.set(member, score)
			switch {
			case !is:
				added++
			case old != score:
				changed++
			}
		}
		switch {
		case options["INCR"]:
			return last, added+changed > 0
		case options["CH"]:
			return added + changed, added+changed > 0
		}
		return added, added+changed > 0
	})
}

func zincrby(c *call) any {
	by, valid := parseFloat(c.args[1])
	if !valid {
		return notFloat
	}
	return changeSorted(c, func(z *sorted) (any, bool) {
		z.set(c.args[2], z.scores[c.args[2]]+by)
		return z.scores[c.args[2]], true
	})
}

func zrem(c *call) any {
	return changeSorted(c, func(z *sorted) (any, bool) {
		n := int64(0)
		for _, member := range c.args[1:] {
			if z.drop(member) {
				n++
			}
		}
		return n, n > 0
	})
}

func rank(c *call, reverse bool) any {
	return withSorted(c, func(z *sorted) any {
		score, is := z.scores[c.args[1]]
		if !is {
			return nil
		}
		at, _ := z.place(scored{score, c.args[1]})
		if reverse {
			at = len(z.order) - 1 - at
		}
		return int64(at)
	})
}

func zpop(c *call, greatest bool) any {
	n := 1
	if len(c.args) > 1 {
		var err error
		if n, err = strconv.Atoi(c.args[1]); err != nil || n < 0 {
			return failure("ERR value is out of range, must be positive")
		}
	}
	return changeSorted(c, func(z *sorted) (any, bool) {
		n = min(n, len(z.order))
		start := 0
		if greatest {
			start = len(z.order) - n
		}
		taken := slices.Clone(z.order[start : start+n])
		if greatest {
			slices.Reverse(taken)
		}
		z.cut(start, start+n)
		// In RESP3 the reply to a call with a count has pairs.
		return withScores(taken, c.conn.proto == 3 && !c.script && len(c.args) > 1), n > 0
	})
}

func withScores(all []scored, nested bool) []any {
	found := []any{}
	for _, one := range all {
		if nested {
			found = append(found, []any{one.member, one.score})
		} else {
			found = append(found, one.member, one.score)
		}
	}
	return found
}

func zscan(c *call) any {
	pattern, err := scanOptions(c.args[2:])
	if err != nil {
		return err
	}
	return withSorted(c, func(z *sorted) any {
		found := []any{}
		for _, member := range slices.Sorted(maps.Keys(z.scores)) {
			if matches(pattern, member) {
				found = append(found, member, formatFloat(z.scores[member]))
			}
		}
		return []any{"0", found}
	})
}

// The kinds of ends of a range.
const (
	byRank = iota
	byScore
	byMember
)

// zsetRange has the parsed arguments of ZRANGE and related commands.
type zsetRange struct {
	by              int
	reverse, scores bool
	offset, count   int
	limited         bool
}

func zrange(c *call) any { return zsetRange{by: byRank}.answer(c, c.args[3:]) }

// options reads [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES].
func (r zsetRange) options(args []string) (zsetRange, any) {
	for i := 0; i < len(args); i++ {
		switch upper(args[i]) {
		case "BYSCORE":
			r.by = byScore
		case "BYLEX":
			r.by = byMember
		case "REV":
			r.reverse = true
		case "WITHSCORES":
			r.scores = true
		case "LIMIT":
			if i+2 >= len(args) {
				return r, syntaxError
			}
			var err1, err2 error
			r.offset, err1 = strconv.Atoi(args[i+1])
			r.count, err2 = strconv.Atoi(args[i+2])
			if err1 != nil || err2 != nil {
				return r, notInteger
			}
			r.limited = true
			i += 2
		default:
			return r, syntaxError
		}
	}
	if r.limited && r.by == byRank {
		return r, failure("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	}
	return r, nil
}

// part returns the sorted pairs between two ends, the lower end first.
func (r zsetRange) part(z *sorted, from, to string) (start, end int, err any) {
	if r.by == byRank {
		return bounds(from, to, len(z.order))
	}
	read, wrong := scoreLimit, failure("ERR min or max is not a float")
	if r.by == byMember {
		read, wrong = memberLimit, failure("ERR min or max not valid string range item")
	}
	low, valid1 := read(from)
	high, valid2 := read(to)
	if !valid1 || !valid2 {
		return 0, 0, wrong
	}
	start, end = z.between(low, high, r.by == byMember)
	return start, end, nil
}

func (r zsetRange) answer(c *call, options []string) any {
	r, err := r.options(options)
	if err != nil {
		return err
	}
	return withSorted(c, func(z *sorted) any {
		from, to := c.args[1], c.args[2]
		if r.reverse && r.by != byRank {
			from, to = to, from
		}
		order := z.order
		if r.reverse && r.by == byRank {
			order = slices.Clone(z.order)
			slices.Reverse(order)
		}
		start, end, err := r.part(z, from, to)
		if err != nil {
			return err
		}
		part := order[start:end]
		if r.reverse && r.by != byRank {
			part = slices.Clone(part)
			slices.Reverse(part)
		}
		if r.limited {
			if r.offset < 0 || r.offset > len(part) {
				part = nil
			} else {
				part = part[r.offset:]
			}
			if r.count >= 0 {
				part = part[:min(r.count, len(part))]
			}
		}
		if r.scores {
			return withScores(part, c.conn.proto == 3 && !c.script)
		}
		members := make([]string, len(part))
		for i, one := range part {
			members[i] = one.member
		}
		return members
	})
}
