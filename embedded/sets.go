package embedded

import (
	"maps"
	"slices"
	"strconv"
)

type set map[string]struct{}

func setCommands() map[string]*command {
	many := func(run func(*call) any) *command {
		return &command{run: run, args: -2, reads: true, first: 1, last: -1, step: 1}
	}
	return map[string]*command{
		"SADD":      writer(-3, sadd),
		"SREM":      writer(-3, srem),
		"SCARD":     reader(2, func(c *call) any { return withSet(c, func(s set) any { return int64(len(s)) }) }),
		"SISMEMBER": reader(3, func(c *call) any { return withSet(c, func(s set) any { _, is := s[c.args[1]]; return number(is) }) }),
		"SMISMEMBER": reader(-3, func(c *call) any {
			return withSet(c, func(s set) any {
				found := []any{}
				for _, member := range c.args[1:] {
					_, is := s[member]
					found = append(found, number(is))
				}
				return found
			})
		}),
		"SMEMBERS":    reader(2, func(c *call) any { return withSet(c, func(s set) any { return slices.Sorted(maps.Keys(s)) }) }),
		"SPOP":        writer(-2, spop),
		"SRANDMEMBER": reader(-2, srandmember),
		"SSCAN":       reader(-3, sscan),
		"SUNION":      many(func(c *call) any { return combine(c, func(in, _ int) bool { return in > 0 }) }),
		"SINTER":      many(func(c *call) any { return combine(c, func(in, of int) bool { return in == of }) }),
		"SDIFF":       many(sdiff),
	}
}

func withSet(c *call, use func(set) any) any {
	s, _, err := value[set](c, c.args[0])
	if err != nil {
		return err
	}
	return use(s)
}

func changeSet(c *call, change func(set) any) any {
	s, absent, err := value[set](c, c.args[0])
	if err != nil {
		return err
	}
	if absent {
		s = set{}
	}
	before := len(s)
	reply := change(s)
	if len(s) != before {
		c.keep(absent, len(s), s)
	}
	return reply
}

func sadd(c *call) any {
	return changeSet(c, func(s set) any {
		before := len(s)
		for _, member := range c.args[1:] {
			s[member] = struct{}{}
		}
		return int64(len(s) - before)
	})
}

func srem(c *call) any {
	return changeSet(c, func(s set) any {
		before := len(s)
		for _, member := range c.args[1:] {
			delete(s, member)
		}
		return int64(before - len(s))
	})
}

// some returns up to n members in random order.
func some(s set, n int) []string {
	found := []string{}
	for member := range s {
		if len(found) == n {
			break
		}
		found = append(found, member)
	}
	return found
}

func spop(c *call) any {
	n, err := countOption(c)
	if err != nil {
		return err
	}
	return changeSet(c, func(s set) any {
		found := some(s, max(n, 0)+number0(len(c.args) == 1))
		for _, member := range found {
			delete(s, member)
		}
		return oneOrAll(c, found)
	})
}

func srandmember(c *call) any {
	n, err := countOption(c)
	if err != nil {
		return err
	}
	return withSet(c, func(s set) any {
		if n >= 0 {
			return oneOrAll(c, some(s, n+number0(len(c.args) == 1)))
		}
		found := []string{} // the same member may come again
		for range -n {
			found = append(found, some(s, 1)...)
		}
		return found
	})
}

func number0(is bool) int { return int(number(is)) }

// countOption returns the count of SPOP and SRANDMEMBER, 0 without a count.
func countOption(c *call) (n int, err any) {
	if len(c.args) == 1 {
		return 0, nil
	}
	n, bad := strconv.Atoi(c.args[1])
	if bad != nil || n < 0 && c.name == "SPOP" || n < -maxArgs {
		return 0, failure("ERR value is out of range, must be positive")
	}
	return n, nil
}

func oneOrAll(c *call, found []string) any {
	switch {
	case len(c.args) > 1:
		return found
	case len(found) == 0:
		return nil
	}
	return found[0]
}

func sscan(c *call) any {
	pattern, err := scanOptions(c.args[2:])
	if err != nil {
		return err
	}
	return withSet(c, func(s set) any {
		found := []any{}
		for _, member := range slices.Sorted(maps.Keys(s)) {
			if matches(pattern, member) {
				found = append(found, member)
			}
		}
		return []any{"0", found}
	})
}

// combine counts the sets that contain each member.
func combine(c *call, keep func(in, of int) bool) any {
	counts := map[string]int{}
	for _, key := range c.args {
		s, _, err := value[set](c, key)
		if err != nil {
			return err
		}
		for member := range s {
			counts[member]++
		}
	}
	maps.DeleteFunc(counts, func(_ string, in int) bool { return !keep(in, len(c.args)) })
	return slices.Sorted(maps.Keys(counts))
}

func sdiff(c *call) any {
	first, _, err := value[set](c, c.args[0])
	if err != nil {
		return err
	}
	left := maps.Clone(first)
	for _, key := range c.args[1:] {
		s, _, err := value[set](c, key)
		if err != nil {
			return err
		}
		for member := range s {
			delete(left, member)
		}
	}
	return slices.Sorted(maps.Keys(left))
}
