package events_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pollOp is an operation of a poll: its arguments and its effect.
type pollOp struct {
	args []string
	do   func(m *model, g *side, r *pollReply)
}

type pollReply struct {
	more, due             lines
	seen                  []string
	fault                 string
	nparked, ndead, ngone int
	fresh                 lines
	read                  int
	started               []string
	tip                   string
	size                  *sizes
	bodies, gone          lines
	stamp                 string
}

func opAck(ids ...string) pollOp {
	return pollOp{append([]string{"A", strconv.Itoa(len(ids))}, ids...), func(_ *model, g *side, _ *pollReply) {
		for _, id := range ids {
			g.ack(id)
		}
	}}
}

func opMark(ids ...string) pollOp {
	return pollOp{append([]string{"I", strconv.Itoa(len(ids))}, ids...), func(_ *model, g *side, _ *pollReply) {
		for _, id := range ids {
			g.inbox[id] = true
		}
	}}
}

func opAsk(ids ...string) pollOp {
	return pollOp{append([]string{"C", strconv.Itoa(len(ids))}, ids...), func(_ *model, g *side, r *pollReply) {
		for _, id := range ids {
			if g.inbox[id] {
				r.seen = append(r.seen, id)
			}
		}
	}}
}

// pop removes the head of a parked list if its id is the expected one.
func (g *side) pop(channel, id string) (string, bool) {
	list := g.parked[channel]
	if len(list) == 0 || !strings.HasPrefix(list[0], id+" ") {
		return "", false
	}
	delete(g.tries, id)
	if g.parked[channel] = list[1:]; len(list) == 1 {
		delete(g.parked, channel)
		delete(g.retry, channel)
		delete(g.heads, channel)
	}
	return list[0], true
}

func opPop(channel string, ids ...string) pollOp {
	return pollOp{append([]string{"P", channel, strconv.Itoa(len(ids))}, ids...), func(_ *model, g *side, _ *pollReply) {
		for _, id := range ids {
			g.pop(channel, id)
		}
	}}
}

func opMore(channel string, skip, want int) pollOp {
	return pollOp{[]string{"M", channel, strconv.Itoa(skip), strconv.Itoa(want)}, func(_ *model, g *side, r *pollReply) {
		r.more.handed(g, channel, skip, want, r.size)
		if len(g.parked[channel]) == 0 {
			delete(g.retry, channel)
		}
	}}
}

func opFetch(id string) pollOp {
	return pollOp{[]string{"F", id}, func(m *model, _ *side, r *pollReply) {
		if e, ok := m.find(id); ok {
			_, _, body := parts(e)
			r.bodies.add(id, body)
		}
	}}
}

func opFetchHead(channel, id string) pollOp {
	return pollOp{[]string{"H", channel, id}, func(_ *model, g *side, r *pollReply) {
		if list := g.parked[channel]; len(list) > 0 && strings.HasPrefix(list[0], id+" ") {
			r.bodies.add(id, strings.SplitN(list[0], " ", 3)[2])
		}
	}}
}

// parts returns channel, field and body of an entry, as a script reads it.
func parts(e stored) (channel, field, body string) {
	field, body, ok := content(e)
	if ok {
		channel = e.fields[1]
	}
	return channel, field, body
}

func item(e stored) string {
	if field, body, ok := content(e); ok {
		return e.id.String() + " " + field + " " + body
	}
	return e.id.String() + " ? " + strings.Join(e.fields, " ")
}

func content(e stored) (field, body string, ok bool) {
	if e.fields[0] == "c" && len(e.fields) > 3 {
		return e.fields[2], e.fields[3], true
	}
	return "?", strings.Join(e.fields, " "), false
}

func opPark(channel string, delay int64, attempts string, ids ...string) pollOp {
	op := pollOp{args: []string{"K", channel, fmt.Sprint(delay), strconv.Itoa(len(ids))}}
	for _, id := range ids {
		op.args = append(op.args, id, attempts)
	}
	op.do = func(m *model, g *side, r *pollReply) {
		for _, id := range slices.Backward(ids) {
			e, ok := m.find(id)
			if !g.ack(id) {
				continue
			}
			if !ok {
				r.ngone++
				continue
			}
			g.parked[channel] = slices.Insert(slices.Clone(g.parked[channel]), 0, item(e))
			g.head(channel, id)
			if attempts != "0" {
				g.tries[id] = attempts
			}
			r.nparked++
		}
		switch {
		case delay == -1:
			g.retry[channel] = takenMS
		case len(g.parked[channel]) > 0:
			g.retry[channel] = m.ms() + delay
		}
	}
	return op
}

func opTries(id, attempts string) pollOp {
	return pollOp{[]string{"T", id, attempts}, func(_ *model, g *side, _ *pollReply) {
		if delete(g.tries, id); attempts != "0" {
			g.tries[id] = attempts
		}
	}}
}

func opDead(id, channel string, head bool) pollOp {
	return pollOp{[]string{"D", id, "cause", "3", "77", channel, map[bool]string{true: "1", false: "0"}[head]},
		func(m *model, g *side, r *pollReply) {
			var field, body string
			if head {
				text, ok := g.pop(channel, id)
				if !ok {
					return
				}
				parts := strings.SplitN(text, " ", 3)
				field, body = parts[1], parts[2]
			} else {
				e, ok := m.find(id)
				if !g.ack(id) {
					return
				}
				if !ok {
					r.ngone++
					return
				}
				field, body, _ = content(e)
			}
			g.dead.add(m.ms(), "id", id, "c", channel, field, body, "cause", "cause", "attempts", "3", "at", "77")
			r.ndead++
		}}
}

// claim sets the delivery count of pending entries, and forgets those that were cut from the
// stream. It returns the ids that it did not claim.
func (m *model) claim(g *side, count int, ids []string) (gone []string) {
	for _, id := range ids {
		i := slices.IndexFunc(g.pending, func(p pending) bool { return p.id.String() == id })
		if i < 0 {
			gone = append(gone, id)
			continue
		}
		if _, ok := m.find(id); !ok {
			g.ack(id)
			gone = append(gone, id)
			continue
		}
		g.pending[i].count = count
	}
	return gone
}

func opBegin(attempts int, ids ...string) pollOp {
	return pollOp{append([]string{"B", strconv.Itoa(attempts), strconv.Itoa(len(ids))}, ids...), func(m *model, g *side, r *pollReply) {
		if !g.there {
			r.fault = noGroup
			return
		}
		r.gone.add(anys(m.claim(g, attempts+1, ids))...)
	}}
}

func (m *model) step(g *side, token string, count, window, auto int, release bool, poll, answered int64, size *sizes, ops []pollOp) string {
	if g.token == "" || g.token != token {
		return ""
	}
	if poll <= max(g.poll, 0) {
		return "(error) STALE an older poll"
	}
	if max(g.poll, 0) < answered {
		return "BEHIND"
	}
	g.poll = poll
	r := &pollReply{size: size, stamp: g.topics}
	budget := size.most
	for _, op := range ops {
		op.do(m, g, r)
	}
	if release {
		for _, channel := range due(g.retry, takenMS, 1<<60, len(g.retry)) {
			g.retry[channel] = m.ms()
		}
		g.token = ""
		done := *r
		done.due = nil
		return done.text(m.ms(), "", g.waiting())
	}
	m.appear(budget)
	if count > 0 {
		m.more(g, r, count, window, auto, poll)
	}
	next := ""
	for _, set := range []map[string]int64{g.retry, m.delayed} {
		if first := due(set, 0, 1<<60, 1); len(first) > 0 {
			if old, err := strconv.ParseInt(next, 10, 64); err != nil || set[first[0]] < old {
				next = fmt.Sprint(set[first[0]])
			}
		}
	}
	return r.text(m.ms(), next, g.waiting())
}

// more reads entries.
func (m *model) more(g *side, r *pollReply, count, window, auto int, poll int64) {
	missed := m.cuts[g.name]
	delete(m.cuts, g.name)
	r.ngone += int(missed) + g.cut
	g.cut = 0
	for _, channel := range due(g.retry, 0, m.ms(), 32) {
		if r.size.spent() {
			break
		}
		if len(g.parked[channel]) == 0 {
			delete(g.retry, channel)
			continue
		}
		r.due.handed(g, channel, 0, window, r.size)
		g.retry[channel] = takenMS
	}
	var entries []stored
	ended := false
	if !g.there && !r.size.spent() {
		r.fault = noGroup
	}
	for all := m.after(g.last); g.there && len(entries) < count && !ended && !r.size.spent(); {
		most := min(r.size.chunk, count-len(entries))
		got := all[:min(most, len(all))]
		all = all[len(got):]
		for _, e := range got {
			for _, text := range e.fields {
				r.size.fetched += len(text)
			}
		}
		entries = append(entries, got...)
		ended = len(got) < most
	}
	for _, e := range entries {
		g.pending = append(g.pending, pending{e.id, 1})
		g.last = e.id
	}
	before := g.read
	if r.read = len(entries); g.read >= 0 {
		g.read += missed + int64(r.read)
	}
	if r.fault == "" && ended {
		if r.read > 0 {
			r.tip = entries[r.read-1].id.String()
		}
		if r.read == 0 || poll%64 == 0 {
			r.tip = m.last.String()
			if g.read >= 0 && m.added > g.read {
				r.ngone += int(m.added - g.read)
			}
			g.read = m.added
		}
	}
	switch {
	case g.read == before:
	case r.read > 0:
		g.lastRead = entries[r.read-1].id.String()
	case r.tip != "":
		g.lastRead = r.tip
	}
	first := map[string]bool{}
	waiting := len(g.retry) > 0
	for _, e := range entries {
		channel, field, body := parts(e)
		if _, waits := g.retry[channel]; waits && waiting {
			g.parked[channel] = append(slices.Clone(g.parked[channel]), item(e))
			g.head(channel, e.id.String())
			g.ack(e.id.String())
			r.nparked++
			continue
		}
		fits := r.size.fits(e.id.String(), body)
		if !fits {
			body = ""
		}
		r.fresh.add(e.id, channel, field, body)
		if len(r.started) < auto {
			if !first[channel] && fits && field == "e1" {
				r.started = append(r.started, e.id.String())
			}
			first[channel] = true
		}
	}
	m.claim(g, 2, r.started)
}

func (r *pollReply) text(now int64, next string, waiting int) string {
	var begun, seen lines
	seen.add(anys(r.seen)...)
	begun.add(anys(r.started)...)
	return join(lines{fmt.Sprint(now)}, lines{next}, lines{fmt.Sprint(r.read)}, r.fresh, r.due, r.more, seen, lines{r.fault},
		lines{fmt.Sprint(r.nparked)}, lines{fmt.Sprint(r.ndead)}, begun, lines{r.tip}, lines{fmt.Sprint(r.ngone)},
		r.size.stubs, r.bodies, r.gone, lines{fmt.Sprint(waiting)}, lines{r.stamp})
}

func anys(all []string) (out []any) {
	for _, s := range all {
		out = append(out, s)
	}
	return out
}

// waiting returns the number of parked events.
func (g *side) waiting() (n int) {
	for _, list := range g.parked {
		n += len(list)
	}
	return n
}
