package events

import (
	"context"
	"fmt"

	"github.com/redstart-go/redstart/internal/core"
)

// The dead letters of one script or command. Together they have at most 1 MiB of stored bytes, or
// one dead letter is larger.
const (
	redriveAtOnce = 256
	dropAtOnce    = 1000
)

// RedriveAll redrives the dead letters that are there when it begins: in a partition in the order
// in which they died. A dead letter whose event dies again in the meantime is for the next call. It
// returns how many it has redriven, also with an error: then the others are still dead letters. It
// takes two round trips for 256 dead letters or 1 MiB of them, one per partition that has dead
// letters, and one.
func (q *DeadLetters) RedriveAll(ctx context.Context) (int, error) {
	return q.all(ctx, "redrive", redriveAtOnce, func(k groupKeys, ids []string) (core.Reply, error) {
		return q.d.core.Eval(ctx, redriveScript, []string{k.dead, k.retry, k.tries, k.parked, k.group, k.heads}, ids)
	})
}

// DropAll deletes the dead letters that are there when it begins. It returns how many it has
// deleted, also with an error. It takes two round trips for 1,000 dead letters or 1 MiB of them,
// one per partition that has dead letters, and one.
func (q *DeadLetters) DropAll(ctx context.Context) (int, error) {
	return q.all(ctx, "drop", dropAtOnce, func(k groupKeys, ids []string) (core.Reply, error) {
		return q.d.core.Do(ctx, core.Write("XDEL", k.dead, ids...))
	})
}

// all calls do for the dead letters of each partition, in their order, and sums up its replies.
func (q *DeadLetters) all(ctx context.Context, verb string, atOnce int,
	do func(groupKeys, []string) (core.Reply, error)) (total int, err error) {
	err = q.d.life.open()
	var filled []int
	if err == nil {
		filled, err = q.filled(ctx, 0)
	}
	for _, partition := range filled {
		if err != nil {
			break
		}
		var n int
		n, err = q.allOf(ctx, partition, atOnce, do)
		total += n
	}
	if err != nil {
		return total, fmt.Errorf("events: %s dead letters: %w", verb, err)
	}
	return total, nil
}

// allOf is all for one partition. It ends at the dead letter that is the newest when it begins.
// Otherwise an event that dies again would be redriven without end.
func (q *DeadLetters) allOf(ctx context.Context, partition, atOnce int,
	do func(groupKeys, []string) (core.Reply, error)) (total int, err error) {
	k := q.d.groupKeys(q.d.parts[partition], q.group)
	newest, _, err := decodeLook(q.d.core.EvalMulti(ctx, lookScript,
		[]core.Call{lookCall(k.dead, "down", "+", 1, 1, false, false)})[0])
	if err != nil || len(newest) == 0 {
		return 0, err
	}

	bound := "-"
	for end := false; !end; {
		var entries []entry
		if entries, end, err = q.look(ctx, partition, bound, atOnce, replyBytes, false, false); err != nil {
			return total, err
		}
		var ids []string
		for _, e := range entries {
			if before(newest[0].id, e.id) {
				end = true
				break
			}
			ids = append(ids, e.id)
			bound = "(" + e.id
		}
		if len(ids) == 0 {
			break
		}
		msg, err := do(k, ids)
		if err != nil {
			return total, err
		}
		n, err := msg.AsInt64()
		if err != nil {
			return total, unexpected("a count", err)
		}
		total += int(n)
	}
	return total, nil
}

// filled returns the partitions from first on that have dead letters.
func (q *DeadLetters) filled(ctx context.Context, first int) (filled []int, err error) {
	for ; first < len(q.d.parts); first += maxPipeline {
		var cmds []core.Command
		for _, p := range q.d.parts[first:min(first+maxPipeline, len(q.d.parts))] {
			cmds = append(cmds, core.Read("XLEN", q.d.groupKeys(p, q.group).dead))
		}
		for i, result := range q.d.core.DoMulti(ctx, cmds...) {
			msg, err := result.Get()
			if err != nil {
				return nil, err
			}
			if n, err := msg.AsInt64(); err != nil {
				return nil, unexpected("a length", err)
			} else if n > 0 {
				filled = append(filled, first+i)
			}
		}
	}
	return filled, nil
}

// look reads a part of a partition's dead letters, see lookCall.
func (q *DeadLetters) look(ctx context.Context, partition int, bound string, limit, bytes int, data,
	fields bool) ([]entry, bool, error) {
	key := q.d.groupKeys(q.d.parts[partition], q.group).dead
	call := lookCall(key, "up", bound, limit, bytes, data, fields)
	return decodeLook(q.d.core.EvalMulti(ctx, lookScript, []core.Call{call})[0])
}
