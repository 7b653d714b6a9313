package embedded

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

func streamCommands() map[string]*command {
	return map[string]*command{
		"XADD":      writer(-5, xadd),
		"XLEN":      reader(2, func(c *call) any { return withStream(c, func(s *stream) any { return int64(len(s.entries)) }) }),
		"XRANGE":    reader(-4, func(c *call) any { return xrange(c, c.args[1], c.args[2], false) }),
		"XREVRANGE": reader(-4, func(c *call) any { return xrange(c, c.args[2], c.args[1], true) }),
		"XDEL":      writer(-3, xdel),
		"XTRIM":     writer(-4, xtrim),
		"XSETID":    writer(-3, xsetid),
		"XREAD":     {run: xread, args: -4, reads: true},
	}
}

func withStream(c *call, use func(*stream) any) any {
	s, absent, err := value[*stream](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent:
		s = &stream{}
	}
	return use(s)
}

// trimming is MAXLEN|MINID [=|~] threshold [LIMIT n].
type trimming struct {
	by    string
	count int
	id    streamID
}

// readTrimming reads a trimming at the start of args. It returns the number of its arguments.
func readTrimming(args []string) (t trimming, n int, err any) {
	t.by = upper(args[0])
	n = 1
	if n < len(args) && (args[n] == "=" || args[n] == "~") {
		n++
	}
	if n >= len(args) {
		return t, n, syntaxError
	}
	if t.by == "MAXLEN" {
		var bad error
		if t.count, bad = strconv.Atoi(args[n]); bad != nil || t.count < 0 {
			return t, n, notInteger
		}
	} else if t.id, err = parseID(args[n], 0); err != nil {
		return t, n, err
	}
	n++
	if n+1 < len(args) && upper(args[n]) == "LIMIT" {
		n += 2
	}
	return t, n, nil
}

func (t trimming) apply(s *stream) int64 {
	switch t.by {
	case "MAXLEN":
		return s.drop(max(len(s.entries)-t.count, 0))
	case "MINID":
		n, _ := s.find(t.id)
		return s.drop(n)
	}
	return 0
}

// xadd is XADD key [NOMKSTREAM] [trimming] *|id field value …
func xadd(c *call) any {
	s, absent, err := value[*stream](c, c.args[0])
	if err != nil {
		return err
	}
	rest, trim, create := c.args[1:], trimming{}, true
options:
	for len(rest) > 0 {
		switch upper(rest[0]) {
		case "NOMKSTREAM":
			create = false
			rest = rest[1:]
		case "MAXLEN", "MINID":
			var n int
			if trim, n, err = readTrimming(rest); err != nil {
				return err
			}
			rest = rest[n:]
		default:
			break options
		}
	}
	if len(rest) < 3 || len(rest)%2 == 0 {
		return wrongCount(c.name)
	}
	if absent {
		if !create {
			return nil
		}
		s = &stream{}
	}
	id, err := addedID(s, rest[0], c.now())
	if err != nil {
		return err
	}
	s.entries = append(s.entries, streamEntry{id, slices.Clone(rest[1:])})
	s.last = id
	s.added++
	trim.apply(s)
	if absent {
		c.space.put(c.args[0], s)
	}
	c.touched(c.args[0])
	return id.String()
}

func addedID(s *stream, text string, now int64) (streamID, any) {
	if text == "*" {
		return s.nextID(now), nil
	}
	ms, seq, _ := strings.Cut(text, "-")
	if seq == "*" {
		id, err := parseID(ms, 0)
		if err == nil && id.ms == s.last.ms {
			id = s.last.next()
		}
		if err == nil && !s.last.less(id) && id != firstID {
			err = failure("ERR The ID specified in XADD is equal or smaller than the target stream top item")
		}
		return id, err
	}
	id, err := parseID(text, 0)
	switch {
	case err != nil:
		return id, err
	case id == firstID:
		return id, failure("ERR The ID specified in XADD must be greater than 0-0")
	case !s.last.less(id):
		return id, failure("ERR The ID specified in XADD is equal or smaller than the target stream top item")
	}
	return id, nil
}

// rangeLimit reads an end of XRANGE: -, +, an id, or ( and an id.
func rangeLimit(text string, end bool) (streamID, any) {
	switch text {
	case "-":
		return firstID, nil
	case "+":
		return lastID, nil
	}
	seq := uint64(0)
	if end {
		seq = lastID.seq
	}
	text, exclusive := strings.CutPrefix(text, "(")
	id, err := parseID(text, seq)
	if err != nil || !exclusive {
		return id, err
	}
	if end {
		if id == firstID {
			return id, failure("ERR invalid end ID for the interval")
		}
		return id.before(), nil
	}
	if id == lastID {
		return id, failure("ERR invalid start ID for the interval")
	}
	return id.next(), nil
}

func xrange(c *call, from, to string, reverse bool) any {
	start, err := rangeLimit(from, false)
	if err != nil {
		return err
	}
	end, err := rangeLimit(to, true)
	if err != nil {
		return err
	}
	count := -1
	if rest := c.args[3:]; len(rest) > 0 {
		n, bad := 0, error(nil)
		if len(rest) != 2 || upper(rest[0]) != "COUNT" {
			return syntaxError
		}
		if n, bad = strconv.Atoi(rest[1]); bad != nil {
			return notInteger
		}
		count = max(n, 0)
	}
	return withStream(c, func(s *stream) any {
		found := s.between(start, end)
		if reverse {
			found = slices.Clone(found)
			slices.Reverse(found)
		}
		if count >= 0 {
			found = found[:min(count, len(found))]
		}
		return entryReplies(found)
	})
}

func entryReplies(entries []streamEntry) []any {
	all := make([]any, len(entries))
	for i, e := range entries {
		all[i] = e.reply()
	}
	return all
}

func xdel(c *call) any {
	return withStream(c, func(s *stream) any {
		n := int64(0)
		for _, text := range c.args[1:] {
			id, err := parseID(text, 0)
			if err != nil {
				return err
			}
			if at, is := s.find(id); is {
				s.entries = slices.Delete(s.entries, at, at+1)
				if s.deleted.less(id) {
					s.deleted = id
				}
				n++
			}
		}
		if n > 0 {
			c.touched(c.args[0])
		}
		return n
	})
}

func xtrim(c *call) any {
	if by := upper(c.args[1]); by != "MAXLEN" && by != "MINID" {
		return syntaxError
	}
	trim, n, err := readTrimming(c.args[1:])
	switch {
	case err != nil:
		return err
	case n != len(c.args)-1:
		return syntaxError
	}
	return withStream(c, func(s *stream) any {
		n := trim.apply(s)
		if n > 0 {
			c.touched(c.args[0])
		}
		return n
	})
}

func xsetid(c *call) any {
	s, absent, err := value[*stream](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent:
		return noSuchKey
	}
	id, err := parseID(c.args[1], 0)
	if err != nil {
		return err
	}
	if n := len(s.entries); n > 0 && id.less(s.entries[n-1].id) {
		return failure("ERR The ID specified in XSETID is smaller than the target stream top item")
	}
	s.last = id
	c.touched(c.args[0])
	return ok
}

// readOptions has COUNT, BLOCK and NOACK of XREAD and XREADGROUP.
type readOptions struct {
	count  int
	blocks bool
	limit  time.Duration
	noAck  bool
}

func (o *readOptions) read(args []string) any {
	for i := 0; i < len(args); i++ {
		option := upper(args[i])
		if option == "NOACK" {
			o.noAck = true
			continue
		}
		if i++; i == len(args) {
			return syntaxError
		}
		n, bad := strconv.Atoi(args[i])
		if bad != nil || n < 0 {
			return failure("ERR timeout is not an integer or out of range")
		}
		switch option {
		case "COUNT":
			o.count = n
		case "BLOCK":
			o.blocks, o.limit = true, time.Duration(n)*time.Millisecond
		default:
			return syntaxError
		}
	}
	return nil
}

// afterStreams returns the keys and ids after the word STREAMS.
func afterStreams(args []string) (keys, ids []string) {
	at := slices.IndexFunc(args, func(word string) bool { return upper(word) == "STREAMS" })
	if at < 0 {
		return nil, nil
	}
	rest := args[at+1:]
	if len(rest)%2 == 1 {
		return nil, nil
	}
	return rest[:len(rest)/2], rest[len(rest)/2:]
}

// xread is XREAD [COUNT n] [BLOCK ms] STREAMS key … id …
func xread(c *call) any {
	keys, ids := afterStreams(c.args)
	if len(keys) == 0 {
		return failure("ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.")
	}
	var options readOptions
	if err := options.read(c.args[:len(c.args)-2*len(keys)-1]); err != nil {
		return err
	}
	after := make([]streamID, len(keys))
	for i, key := range keys {
		s, absent, err := value[*stream](c, key)
		if err != nil {
			return err
		}
		switch {
		case ids[i] == "$" && absent:
		case ids[i] == "$":
			after[i] = s.last
		default:
			if after[i], err = parseID(ids[i], 0); err != nil {
				return err
			}
		}
	}
	try := func(c *call) (any, bool) {
		found := pairs{}
		for i, key := range keys {
			s, absent, err := value[*stream](c, key)
			if err != nil || absent || !after[i].less(s.last) {
				continue
			}
			if entries := s.between(after[i].next(), lastID); len(entries) > 0 {
				if options.count > 0 {
					entries = entries[:min(options.count, len(entries))]
				}
				found = append(found, key, entryReplies(entries))
			}
		}
		return streamsReply(c, found), len(found) > 0
	}
	if !options.blocks {
		if reply, ready := try(c); ready {
			return reply
		}
		return noArray{}
	}
	return c.wait(keys, options.limit, noArray{}, try)
}

// streamsReply is a map in RESP3, and a list of pairs in RESP2 and in scripts.
func streamsReply(c *call, found pairs) any {
	if c.conn.proto == 3 && !c.script {
		return found
	}
	all := []any{}
	for i := 0; i < len(found); i += 2 {
		all = append(all, []any{found[i], found[i+1]})
	}
	return all
}
