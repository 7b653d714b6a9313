package events

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed delayed.lua
	delayedSource string
	//go:embed due.lua
	dueSource string
	//go:embed cancel.lua
	cancelSource string

	dueScript    = script.New(delayedSource + dueSource)
	cancelScript = script.New(cancelSource)
)

// Cancel cancels an event that was published with [Delay] or [At] and is not due yet. The event
// never appears, and its ID may be published again. id is the producer's ID, or that of the receipt
// ([Into]). One round trip. Errors: ErrNotFound if no such event is delayed: it is in the stream,
// or was never published; redstart.ErrIndeterminate: call Cancel again.
func (d *Durable) Cancel(ctx context.Context, channel, id string) error {
	err := d.check(ctx)
	if err == nil {
		p := d.partition(channel)
		mark := d.space.Sibling(p.tag, "id:"+scoped(channel, id))
		var msg core.Reply
		if msg, err = d.core.Eval(ctx, cancelScript, []string{p.delayed, p.later, mark}, []string{scoped(channel, id)}); err == nil {
			var n int64
			if n, err = msg.AsInt64(); err == nil && n == 0 {
				err = ErrNotFound
			}
		}
	}
	if err != nil {
		return fmt.Errorf("events: cancel event %q of channel %q: %w", id, channel, err)
	}
	return nil
}

// appear moves due events of partitions into their streams: one round trip per 256 partitions. It
// returns the next due time of each, as far as it is known.
func (d *Durable) appear(ctx context.Context, parts []*partition) (next map[*partition]time.Time, failed error) {
	next = make(map[*partition]time.Time)
	for len(parts) > 0 {
		some := parts[:min(len(parts), maxPipeline)]
		parts = parts[len(some):]
		calls := make([]core.Call, len(some))
		for i, p := range some {
			calls[i] = core.Call{Keys: []string{p.stream, p.delayed, p.later}, Args: []string{strconv.Itoa(moveBytes)}}
		}
		for i, result := range d.core.EvalMulti(ctx, dueScript, calls) {
			msg, err := result.Get()
			if err == nil {
				reply := decode(msg, "due events", 2)
				reply.number("how many were moved")
				ms := reply.number("when the next is due")
				if err = reply.err; err == nil && ms >= 0 {
					next[some[i]] = d.core.Time().Now().Add(time.Duration(ms) * time.Millisecond)
				}
			}
			if err != nil {
				failed = fmt.Errorf("delayed events of partition %s: %w", some[i].tag, err)
				next[some[i]] = d.core.Time().Now().Add(janitorRetry)
			}
		}
	}
	return next, failed
}
