package events

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed parked.lua
	parkedSource string

	parkedScript = script.New(script.UndeclaredKeys + parkedSource)
)

// cuts reports whether the bus cuts events that a group has not handled.
func (d *Durable) cuts() bool { return d.opt.Retention > 0 || d.opt.MaxLen > 0 }

// cutParked cuts parked events of a group that exceed Retention or MaxLen: one round trip per MiB
// of bodies. An owner passes its token and heldParked.
func (d *Durable) cutParked(ctx context.Context, p *partition, group, token string, hands []string) error {
	k := d.groupKeys(p, group)
	keys := []string{k.heads, k.retry, k.parked, k.tries, k.group, k.lease}
	args := append([]string{token, millis(d.opt.Retention), strconv.FormatInt(d.opt.MaxLen, 10), strconv.Itoa(replyBytes)}, hands...)
	for {
		msg, err := d.core.Eval(ctx, parkedScript, keys, args)
		if err != nil {
			return fmt.Errorf("cut parked events of partition %s: %w", p.tag, err)
		}
		reply := decode(msg, "cut parked events", 2)
		cut, more := reply.number("how many were cut"), reply.number("whether there is more")
		if reply.err != nil {
			return reply.err
		}
		d.stats.trimmed.Add(cut)
		if more == 0 || cut == 0 {
			return nil
		}
	}
}

// cutParked cuts the owner's parked events. Only the loop calls it, so no poll is under way.
func (c *partitionConsumer) cutParked(ctx context.Context) {
	if !c.d.cuts() {
		return
	}
	ctx, cancel := c.withinLease(ctx)
	defer cancel()
	if err := c.d.cutParked(ctx, c.p, c.run.sub.name, c.token, c.heldParked()); err != nil {
		c.logFailure("events: parked events were not cut", err)
	}
}

// heldParked returns the channels whose parked lists are handed out to this owner, each with the
// number of events at the head that are held, or done and not yet removed.
func (c *partitionConsumer) heldParked() (all []string) {
	c.run.mu.Lock()
	defer c.run.mu.Unlock()
	done := make(map[string]int)
	for _, op := range c.outcomes.rest {
		switch op := op.(type) {
		case *popOp:
			done[op.channel] += len(op.ids)
		case deadOp:
			if op.parked {
				done[op.channel]++
			}
		}
	}
	for q := range c.handedOut {
		n := done[q.channel]
		for i := range q.events.len() {
			if q.events.at(i).parked {
				n++
			}
		}
		all = append(all, q.channel, strconv.Itoa(n))
	}
	return all
}

// cutAllParked cuts parked events of the groups of a partition that no process runs. The owners do
// it for the other groups.
func (d *Durable) cutAllParked(ctx context.Context, p *partition) error {
	var failed error
	for cursor := "0"; ; {
		msg, err := d.core.Do(ctx, core.Read("SSCAN", p.groups, cursor, "COUNT", strconv.Itoa(scanPage)))
		if err != nil {
			return errors.Join(failed, err)
		}
		reply := decode(msg, "groups", 2)
		cursor = reply.text("a cursor")
		names := reply.texts("names")
		if reply.err != nil {
			return errors.Join(failed, reply.err)
		}
		failed = errors.Join(failed, d.cutParkedOf(ctx, p, names))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if cursor == "0" {
			return failed
		}
	}
}

// cutParkedOf does it for some groups. Most groups have parked nothing.
func (d *Durable) cutParkedOf(ctx context.Context, p *partition, names []string) (failed error) {
	for len(names) > 0 {
		some := names[:min(len(names), maxPipeline)]
		names = names[len(some):]
		cmds := make([]core.Command, len(some))
		for i, name := range some {
			cmds[i] = core.Read("HGET", d.groupKeys(p, name).group, "parked")
		}
		for i, result := range d.core.DoMulti(ctx, cmds...) {
			msg, err := result.Get()
			if err == nil && !msg.IsNil() {
				err = d.cutParked(ctx, p, some[i], "", nil)
			}
			if err != nil {
				failed = err
			}
		}
	}
	return failed
}
