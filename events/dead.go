package events

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed redrive.lua
	redriveSource string
	//go:embed drop.lua
	dropSource string

	redriveScript = script.New(script.UndeclaredKeys + redriveSource)
	dropScript    = script.New(script.UndeclaredKeys + dropSource)
)

// DeadLetter is an event that a group has given up.
type DeadLetter struct {
	ID       string // for Redrive and Drop
	Event    Event[json.RawMessage]
	Attempts int
	Cause    string    // text of the last error, with the stack of a panic
	Died     time.Time // by the clock of the process that gave the event up
}

// DeadLetters are the dead letters of one group of a durable bus. The methods work whether or not
// subscribers run.
type DeadLetters struct {
	d     *Durable
	group string
}

// DeadLetters returns the dead letters of a group.
func (d *Durable) DeadLetters(group string) *DeadLetters { return &DeadLetters{d, group} }

// Count returns the number of dead letters: one round trip per node.
func (q *DeadLetters) Count(ctx context.Context) (n int, err error) {
	if err := q.d.life.open(); err != nil {
		return 0, fmt.Errorf("events: count dead letters: %w", err)
	}
	cmds := make([]core.Command, len(q.d.parts))
	for i, p := range q.d.parts {
		cmds[i] = core.Read("XLEN", q.d.groupKeys(p, q.group).dead)
	}
	for _, r := range q.d.core.DoMulti(ctx, cmds...) {
		msg, err := r.Get()
		if err != nil {
			return 0, fmt.Errorf("events: count dead letters: %w", err)
		}
		k, _ := msg.AsInt64()
		n += int(k)
	}
	return n, nil
}

// List returns up to limit dead letters after the one with the ID after ("" = from the first), by
// partition, then oldest first. A shorter result is the last page. It takes one round trip per
// partition, and one for as many dead letters as 1 MiB holds if each has MaxBytes: at most 16 (4
// with the default of MaxBytes), at least one.
func (q *DeadLetters) List(ctx context.Context, after string, limit int) (all []DeadLetter, err error) {
	if limit < 1 {
		return nil, fmt.Errorf("events: list dead letters: limit is %d: want at least 1", limit)
	}
	if err := q.d.life.open(); err != nil {
		return nil, fmt.Errorf("events: list dead letters: %w", err)
	}
	from, start := 0, "-"
	if after != "" {
		i, id, err := q.split(after)
		if err != nil {
			return nil, fmt.Errorf("events: list dead letters: %w", err)
		}
		from, start = i, "("+id
	}
	for i := from; i < len(q.d.parts) && len(all) < limit; i++ {
		key := q.d.groupKeys(q.d.parts[i], q.group).dead
		want := min(limit-len(all), q.batch())
		msg, err := q.d.core.Do(ctx, core.Read("XRANGE", key, start, "+", "COUNT", strconv.Itoa(want)))
		if err != nil {
			return nil, fmt.Errorf("events: list dead letters: %w", err)
		}
		entries, err := msg.AsXRange()
		if err != nil {
			return nil, fmt.Errorf("events: list dead letters: %w", fault.New(fault.ErrCorrupt, err, ""))
		}
		for _, e := range entries {
			all = append(all, q.letter(i, e))
			start = "(" + e.ID
		}
		if len(entries) == want {
			i-- // there may be more
		} else {
			start = "-"
		}
	}
	return all, nil
}

func (q *DeadLetters) letter(partition int, e core.StreamEntry) DeadLetter {
	f := e.FieldValues
	var d delivery
	body := f[envelopeField]
	if d.parse(body, q.d.foreign) != nil {
		if body == "" {
			body = f["?"]
		}
		d.Data = []byte(body)
	}
	l := DeadLetter{ID: strconv.Itoa(partition) + "." + e.ID, Cause: f["cause"]}
	l.Attempts, _ = strconv.Atoi(f["attempts"])
	if ms, err := strconv.ParseInt(f["at"], 10, 64); err == nil {
		l.Died = time.UnixMilli(ms).UTC()
	}
	l.Event = Event[json.RawMessage]{ID: d.ID, Type: d.Type, Source: d.Source, Channel: f["c"], Time: d.Time,
		Position: f["id"], Attempt: l.Attempts, Data: d.Data}
	return l
}

// Redrive gives dead letters to this group again, and to no other, with all attempts, behind the
// events that their channels hold. It returns how many were found. It takes one round trip for as
// many of a partition as List reads in one.
func (q *DeadLetters) Redrive(ctx context.Context, ids ...string) (int, error) {
	return q.each(ctx, "redrive", ids, func(i int, k groupKeys, ids []string) (core.Reply, error) {
		return q.d.core.Eval(ctx, redriveScript, []string{k.dead, k.retry, k.tries, k.parked, k.group, k.heads}, ids)
	})
}

// Drop deletes dead letters. It returns how many were found.
func (q *DeadLetters) Drop(ctx context.Context, ids ...string) (int, error) {
	return q.each(ctx, "drop", ids, func(i int, k groupKeys, ids []string) (core.Reply, error) {
		return q.d.core.Do(ctx, core.Write("XDEL", k.dead, ids...))
	})
}

// maxDeadBatch is how many dead letters the server reads or moves at once.
const maxDeadBatch = 16

// batch is how many dead letters one reply may have: each may have MaxBytes.
func (q *DeadLetters) batch() int { return min(maxDeadBatch, max(1, replyBytes/q.d.opt.MaxBytes)) }

func (q *DeadLetters) each(ctx context.Context, verb string, ids []string,
	do func(int, groupKeys, []string) (core.Reply, error)) (total int, err error) {
	if err := q.d.life.open(); err != nil {
		return 0, fmt.Errorf("events: %s dead letters: %w", verb, err)
	}
	by := make(map[int][]string)
	for _, id := range ids {
		i, entry, err := q.split(id)
		if err != nil {
			return 0, fmt.Errorf("events: %s dead letters: %w", verb, err)
		}
		by[i] = append(by[i], entry)
	}
	for i, entries := range by {
		for len(entries) > 0 {
			some := entries[:min(len(entries), q.batch())]
			entries = entries[len(some):]
			msg, err := do(i, q.d.groupKeys(q.d.parts[i], q.group), some)
			if err != nil {
				return total, fmt.Errorf("events: %s dead letters: %w", verb, err)
			}
			n, _ := msg.AsInt64()
			total += int(n)
		}
	}
	return total, nil
}

func (q *DeadLetters) split(id string) (partition int, entry string, err error) {
	first, entry, ok := strings.Cut(id, ".")
	partition, err = strconv.Atoi(first)
	if !ok || err != nil || partition < 0 || partition >= len(q.d.parts) || !isPosition(entry) {
		return 0, "", fmt.Errorf("%q is not the ID of a dead letter: %w", id, ErrNotFound)
	}
	return partition, entry, nil
}

// DropGroup deletes a group: its unhandled events, retries and dead letters are gone, and events
// are no longer kept for it. Errors: ErrRunning while a subscriber of the group runs in any
// process. It takes one round trip per partition, and four.
func (d *Durable) DropGroup(ctx context.Context, group string) error {
	if err := checkGroup(group); err != nil {
		return err
	}
	if err := d.life.open(); err != nil {
		return fmt.Errorf("events: drop group %s: %w", group, err)
	}
	members := d.membersKey(group)
	replies := d.core.DoMulti(ctx, core.ReadAt("", "TIME"), core.Read("ZRANGE", members, "0", "-1", "WITHSCORES"))
	clock, err := replies[0].Get()
	if err == nil {
		var alive core.Reply
		if alive, err = replies[1].Get(); err == nil {
			now, _ := clock.AsIntSlice()
			scores, _ := alive.AsZScores()
			for _, s := range scores {
				if len(now) > 0 && s.Score > float64(now[0]*1000) {
					return fmt.Errorf("events: drop group %s: %w: stop its subscribers first", group, ErrRunning)
				}
			}
		}
	}
	for _, p := range d.parts {
		if err != nil {
			break
		}
		k := d.groupKeys(p, group)
		_, err = d.core.Eval(ctx, dropScript, []string{p.stream, p.groups, k.group, k.lease, k.retry, k.tries,
			k.dead, k.parked, p.cut, k.heads}, []string{group})
	}
	if err == nil {
		_, err = d.core.Do(ctx, core.Write("UNLINK", d.topicsKey(group)))
	}
	if err == nil {
		_, err = d.core.Do(ctx, core.Write("HDEL", d.meta, "paused:"+group))
	}
	if err != nil {
		return fmt.Errorf("events: drop group %s: %w", group, err)
	}
	return nil
}
