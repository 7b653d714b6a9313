package events

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// register registers the group with the partitions that do not know it. Later events are kept for
// the group there. One round trip per 256 partitions. A partition with an unreachable server or an
// unusable key fails alone.
func (r *durableRun) register(ctx context.Context) (failed error) {
	var missing []int
	for i := range r.d.parts {
		if !r.registered[i] {
			missing = append(missing, i)
		}
	}
	for at := range slices.Chunk(missing, maxPipeline) {
		failed = worse(failed, r.registerIn(ctx, at))
	}
	return failed
}

func (r *durableRun) registerIn(ctx context.Context, at []int) (failed error) {
	calls := make([]core.Call, 0, len(at))
	for _, i := range at {
		p := r.d.parts[i]
		calls = append(calls, core.Call{Keys: []string{r.d.groupKeys(p, r.sub.name).group, p.stream, p.groups},
			Args: []string{r.sub.name, r.sub.opt.Start.lastID(), r.topics.own.digest}})
	}
	for j, result := range r.d.core.EvalMulti(ctx, registerScript, calls) {
		msg, err := result.Get()
		if err != nil {
			err = r.nameKey(ctx, r.d.parts[at[j]], fmt.Errorf("register the group in partition %d: %w", at[j], err))
			r.logFailure("events: the group is not registered in a partition", at[j], err)
			failed = worse(failed, err)
			continue
		}
		r.registered[at[j]] = true
		if n, _ := msg.AsInt64(); n == 2 {
			r.gap(Gap{Reason: GapReset, Partition: at[j]})
		}
	}
	return failed
}

// worse returns the worse of two errors: an unusable key is the lesser one.
func worse(a, b error) error {
	if b == nil || a != nil && !unusable(a) {
		return a
	}
	return b
}

const maxPipeline = 256

// nameKey adds to an error the key of a partition that another program uses.
func (r *durableRun) nameKey(ctx context.Context, p *partition, err error) error {
	if !errors.Is(err, fault.ErrCorrupt) {
		return err
	}
	keys := r.d.groupKeys(p, r.sub.name)
	for _, k := range []struct{ key, kind string }{{p.stream, "stream"}, {p.groups, "set"}, {keys.group, "hash"}, {keys.lease, "string"}} {
		msg, failed := r.d.core.Do(ctx, core.Read("TYPE", k.key))
		if failed != nil {
			continue
		}
		if kind, _ := msg.ToString(); kind != k.kind && kind != "none" {
			return fmt.Errorf("key %q is a %s, not a %s: delete or rename it, or choose another namespace: %w", k.key, kind, k.kind, err)
		}
	}
	return err
}

// unusable reports whether err comes only from keys that other programs use: waiting does not help,
// and the other partitions work.
func unusable(err error) bool {
	return errors.Is(err, fault.ErrCorrupt) && !errors.Is(err, fault.ErrUnavailable) &&
		!errors.Is(err, fault.ErrIndeterminate) && !errors.Is(err, fault.ErrFull)
}

// logFailure logs an error that keeps the group from its events, of one partition or (-1) of all.
// It is a warning, or a debug line during an outage, because the client logs outages.
func (r *durableRun) logFailure(message string, partition int, err error) {
	if errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) {
		r.d.core.Logger().Debug(message, "bus", r.d.bus, "group", r.sub.name, "partition", partition, "error", err)
		return
	}
	r.d.core.Warn(message, fmt.Sprint(r.d.bus, "/", r.sub.name, "/", partition), "bus", r.d.bus, "group",
		r.sub.name, "partition", partition, "error", err)
}
