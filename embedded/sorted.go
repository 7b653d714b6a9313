package embedded

import (
	"cmp"
	"slices"
	"strings"
)

// sorted is a sorted set: scores by member, and all pairs in order.
type sorted struct {
	scores map[string]float64
	order  []scored
}

type scored struct {
	score  float64
	member string
}

func (a scored) compare(b scored) int {
	return cmp.Or(cmp.Compare(a.score, b.score), strings.Compare(a.member, b.member))
}

func newSorted() *sorted { return &sorted{scores: map[string]float64{}} }

func (z *sorted) place(one scored) (int, bool) {
	return slices.BinarySearchFunc(z.order, one, scored.compare)
}

func (z *sorted) set(member string, score float64) {
	if old, is := z.scores[member]; is {
		if old == score {
			return
		}
		z.drop(member)
	}
	z.scores[member] = score
	at, _ := z.place(scored{score, member})
	z.order = slices.Insert(z.order, at, scored{score, member})
}

func (z *sorted) drop(member string) bool {
	score, is := z.scores[member]
	if !is {
		return false
	}
	delete(z.scores, member)
	at, _ := z.place(scored{score, member})
	z.order = slices.Delete(z.order, at, at+1)
	return true
}

// cut removes a part of the sorted pairs.
func (z *sorted) cut(start, end int) int64 {
	for _, one := range z.order[start:end] {
		delete(z.scores, one.member)
	}
	z.order = slices.Delete(z.order, start, end)
	return int64(end - start)
}

// limit is one end of a range by score or by member.
type limit struct {
	score     float64
	member    string
	exclusive bool
	all       int // -1: below all pairs; 1: above all pairs; 0: by the fields
}

func scoreLimit(text string) (l limit, ok bool) {
	text, l.exclusive = strings.CutPrefix(text, "(")
	l.score, ok = parseFloat(text)
	return l, ok
}

func memberLimit(text string) (l limit, ok bool) {
	switch {
	case text == "-":
		return limit{all: -1}, true
	case text == "+":
		return limit{all: 1}, true
	case strings.HasPrefix(text, "["), strings.HasPrefix(text, "("):
		return limit{member: text[1:], exclusive: text[0] == '('}, true
	}
	return l, false
}

// below reports whether a pair is before the range that begins at this limit. byMember compares
// members only.
func (l limit) below(one scored, byMember bool) bool {
	order := cmp.Compare(one.score, l.score)
	if byMember {
		order = strings.Compare(one.member, l.member)
	}
	switch {
	case l.all != 0:
		return l.all > 0
	case l.exclusive:
		return order <= 0
	}
	return order < 0
}

// above reports whether a pair is after the range that ends at this limit.
func (l limit) above(one scored, byMember bool) bool {
	order := cmp.Compare(one.score, l.score)
	if byMember {
		order = strings.Compare(one.member, l.member)
	}
	switch {
	case l.all != 0:
		return l.all < 0
	case l.exclusive:
		return order >= 0
	}
	return order > 0
}

// between returns the part of the sorted pairs between two limits.
func (z *sorted) between(from, to limit, byMember bool) (start, end int) {
	start, _ = slices.BinarySearchFunc(z.order, 0, func(one scored, _ int) int {
		if from.below(one, byMember) {
			return -1
		}
		return 1
	})
	end, _ = slices.BinarySearchFunc(z.order, 0, func(one scored, _ int) int {
		if to.above(one, byMember) {
			return 1
		}
		return -1
	})
	return start, max(start, end)
}

func withSorted(c *call, use func(*sorted) any) any {
	z, absent, err := value[*sorted](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent:
		z = newSorted()
	}
	return use(z)
}

func changeSorted(c *call, change func(*sorted) (any, bool)) any {
	z, absent, err := value[*sorted](c, c.args[0])
	switch {
	case err != nil:
		return err
	case absent:
		z = newSorted()
	}
	reply, changed := change(z)
	if changed {
		c.keep(absent, len(z.order), z)
	}
	return reply
}
