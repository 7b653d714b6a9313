package events

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// taken is the due time in a retry set of a channel whose parked events were handed out.
const taken = 1e15

// apply takes in what a turn answered.
func (x *session) apply(t *turn, msg core.Reply) error {
	parts, err := msg.ToArray()
	if err != nil || len(parts) != 13 {
		return unexpected("a turn", err)
	}
	now, err1 := parts[0].AsInt64()
	read, err2 := parts[2].AsInt64()
	if err1 != nil || err2 != nil {
		return unexpected("a turn's numbers", err1)
	}
	fault, _ := parts[7].ToString()
	moved, _ := parts[8].AsInt64()
	begun, _ := parts[10].AsStrSlice()
	tip, _ := parts[11].ToString()
	if gone, _ := parts[12].AsInt64(); gone > 0 {
		x.run.gap(Gap{Reason: GapTrimmed, Missed: gone, Partition: x.index})
	}
	s := &x.run.sub.stats
	s.parked.Add(moved)
	s.received.Add(read)

	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	if next, _ := parts[1].ToString(); next == "" {
		x.due = time.Time{}
	} else if ms, err := strconv.ParseFloat(next, 64); err != nil || ms >= taken {
		x.due = time.Time{}
	} else {
		x.due, x.dueMS = time.Now().Add(time.Duration(ms-float64(now))*time.Millisecond), ms
	}
	if t.count > 0 && fault == "" {
		x.armed = false
		if x.caughtUp = tip != ""; x.caughtUp {
			x.tip = tip
		}
	}
	x.acked += len(t.args)/4 + 1
	if ids, _ := parts[6].AsStrSlice(); len(ids) > 0 {
		for _, id := range ids {
			for _, h := range t.asks[id] {
				h.skip = true
			}
		}
	}
	for _, b := range t.begins {
		x.counted(b)
	}
	entries, err := parts[3].ToArray()
	if err != nil {
		return unexpected("entries", err)
	}
	if err := x.fresh(entries, begun); err != nil {
		return err
	}
	for _, part := range parts[4:6] {
		channels, err := part.ToArray()
		if err != nil {
			return unexpected("channels", err)
		}
		for _, c := range channels {
			if err := x.unpark(c, nil, notInterrupted); err != nil {
				return err
			}
		}
	}
	if fault != "" {
		x.faulty(fault)
	}
	return nil
}

// counted lets events begin whose attempts are counted now.
func (x *session) counted(b begin) {
	l := b.l
	if x.over || x.lanes[l.channel] != l {
		return
	}
	for _, h := range b.all {
		h.attempts++
		if h.attempts > 1 {
			x.run.sub.stats.retries.Add(1)
		}
	}
	l.asked -= len(b.all)
	l.begun += len(b.all)
	x.start(l)
}

// fresh takes in entries that were read, of which some have begun at once.
func (x *session) fresh(entries []core.Reply, begun []string) error {
	free := x.reserved
	x.reserved = 0
	total := 0
	var lanes []*lane
	for _, e := range entries {
		h, channel, err := parseEntry(e)
		if err != nil {
			x.run.free += free
			return err
		}
		total += len(h.body)
		l := x.lane(channel)
		x.hold(l, h)
		if len(begun) > 0 && begun[0] == h.id {
			begun = begun[1:]
			free--
			l.slot, l.begun, h.attempts = true, 1, 1
			x.start(l)
		}
		lanes = append(lanes, l)
	}
	if len(entries) > 0 {
		if mean := total/len(entries) + 1; x.size == 0 {
			x.size = mean
		} else {
			x.size = max((3*x.size+mean)/4, mean)
		}
	}
	x.run.free += free
	for _, l := range lanes {
		x.run.offer(l)
	}
	x.run.grant()
	return nil
}

// parseEntry reads a stream entry: id, then c, the channel, the format's field, the body.
func parseEntry(e core.Reply) (*held, string, error) {
	pair, err := e.ToArray()
	if err != nil || len(pair) != 2 {
		return nil, "", unexpected("an entry", err)
	}
	id, err := pair[0].ToString()
	if err != nil {
		return nil, "", unexpected("an entry's id", err)
	}
	fields, err := pair[1].AsStrSlice()
	if err != nil {
		return nil, "", unexpected("an entry's fields", err)
	}
	if len(fields) >= 4 && fields[0] == "c" {
		return &held{id: id, field: fields[2], body: fields[3]}, fields[1], nil
	}
	return &held{id: id, field: "?", body: strings.Join(fields, " ")}, "", nil
}

// unpark takes in parked events of a channel. With known it leaves out those that are held or done already.
func (x *session) unpark(msg core.Reply, known map[string]bool, interrupted func(int) *failure) error {
	parts, err := msg.ToArray()
	if err != nil || len(parts) != 3 {
		return unexpected("a channel", err)
	}
	channel, err1 := parts[0].ToString()
	items, err2 := parts[1].AsStrSlice()
	attempts, err3 := parts[2].AsStrSlice()
	if err1 != nil || err2 != nil || err3 != nil || len(items) != len(attempts) {
		return unexpected("a channel's events", err2)
	}
	if len(items) == 0 {
		return nil
	}
	l := x.lane(channel)
	for i, item := range items {
		part := strings.SplitN(item, " ", 3)
		n, err := strconv.Atoi(attempts[i])
		if len(part) != 3 || err != nil {
			return unexpected(fmt.Sprintf("a parked event of %d parts", len(part)), err)
		}
		if known[part[0]] {
			continue
		}
		x.hold(l, &held{id: part[0], field: part[1], body: part[2], attempts: n, parked: true, interrupted: interrupted(n)})
	}
	x.run.offer(l)
	return nil
}

func notInterrupted(int) *failure { return nil }

// errInterrupted is why an attempt failed that no process saw fail.
var errInterrupted = errors.New("events: the consumer died or lost its lease during this attempt")

// interruptions asks what becomes of events that another owner had begun, for each number of attempts, before the lock is taken.
func (s *Subscriber) interruptions(entries, channels []core.Reply) func(attempts int) *failure {
	by := map[int]*failure{0: nil}
	add := func(n int64) {
		if _, known := by[int(n)]; !known && n > 0 {
			f := s.judge(int(n), errInterrupted)
			by[int(n)] = &f
		}
	}
	for _, e := range entries {
		if pair, err := e.ToArray(); err == nil && len(pair) == 2 {
			n, _ := pair[1].AsInt64()
			add(n)
		}
	}
	for _, c := range channels {
		if parts, err := c.ToArray(); err == nil && len(parts) == 3 {
			all, _ := parts[2].AsStrSlice()
			for _, text := range all {
				n, _ := strconv.ParseInt(text, 10, 64)
				add(n)
			}
		}
	}
	return func(attempts int) *failure { return by[attempts] }
}

// adopt takes in one page of what recover found, and returns the last id that was looked at.
func (x *session) adopt(msg core.Reply, takeover bool) (last string, err error) {
	parts, err := msg.ToArray()
	if err != nil || len(parts) != 5 {
		return "", unexpected("what was left", err)
	}
	entries, err := parts[0].ToArray()
	if err != nil {
		return "", unexpected("what was left", err)
	}
	last, _ = parts[1].ToString()
	channels, err := parts[2].ToArray()
	if err != nil {
		return "", unexpected("channels", err)
	}
	gone, _ := parts[3].AsStrSlice()
	fault, _ := parts[4].ToString()

	interrupted := notInterrupted
	if takeover {
		interrupted = x.run.sub.interruptions(entries, channels)
	}

	x.run.mu.Lock()
	defer x.run.mu.Unlock()
	known := x.ops.pending()
	for _, l := range x.lanes {
		for i := range l.queue.len() {
			known[l.queue.at(i).id] = true
		}
	}
	var lanes []*lane
	for _, e := range entries {
		pair, err := e.ToArray()
		if err != nil || len(pair) != 2 {
			return "", unexpected("an entry that was left", err)
		}
		h, channel, err := parseEntry(pair[0])
		if err != nil {
			return "", err
		}
		n, err := pair[1].AsInt64()
		if err != nil {
			return "", unexpected("attempts", err)
		}
		if known[h.id] {
			continue
		}
		if takeover { // else this process knows that no handler has started
			h.attempts = max(int(n), 0)
			h.interrupted = interrupted(h.attempts)
		}
		l := x.lane(channel)
		x.hold(l, h)
		lanes = append(lanes, l)
	}
	for _, l := range lanes {
		x.run.offer(l)
	}
	for _, c := range channels {
		if err := x.unpark(c, known, interrupted); err != nil {
			return "", err
		}
	}
	if len(gone) > 0 {
		x.run.gap(Gap{Reason: GapTrimmed, Missed: int64(len(gone)), Partition: x.index})
	}
	if fault != "" {
		x.faulty(fault)
	}
	return last, nil
}

// faulty meets an error of the stream: the group or all of it is gone. The partition is taken anew, which makes the group again.
func (x *session) faulty(text string) {
	if strings.Contains(text, "NOGROUP") || strings.Contains(text, "no such key") {
		x.d.core.Logger().Warn("events: a stream or its group is gone; it is made again, from the beginning", "bus", x.d.bus, "group", x.run.sub.name, "partition", x.index)
	} else {
		x.d.core.Logger().Error("events: a stream can't be read", "bus", x.d.bus, "group", x.run.sub.name, "partition", x.index, "error", text)
	}
	x.regroup = true
	x.kick()
}

// after is the next id.
func after(id string) (string, error) {
	ms, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return "", unexpected("an id", err)
	}
	return ms + "-" + strconv.FormatUint(n+1, 10), nil
}
