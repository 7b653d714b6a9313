package events

import (
	"context"
	"strconv"
)

// recover takes over events that were read and not finished: at the start those of the last owner,
// later those of a lost reply.
func (c *partitionConsumer) recover(ctx context.Context, takeover bool) bool {
	keys := []string{c.p.stream, c.keys.lease, c.keys.retry, c.keys.tries, c.keys.parked}
	from, wait := "0-0", retryFirst
	for {
		sent := c.d.core.Time().Now()
		msg, err := c.eval(ctx, recoverScript, keys, []string{c.token, millis(c.d.opt.Lease), c.run.sub.name, from, strconv.Itoa(maxRead),
			strconv.Itoa(countAhead), strconv.Itoa(c.room()), strconv.Itoa(c.chunk())})
		if err != nil {
			c.logFailure("events: failed to take over events of the last owner", err)
			if c.lapsed() || ctx.Err() != nil || !c.pause(ctx, wait) {
				return false
			}
			wait = min(2*wait, retryMost)
			continue
		}
		if msg.IsNil() {
			return false
		}
		if !c.renewed(sent) {
			return false
		}
		last, err := c.takeOver(msg, takeover)
		if err != nil {
			c.d.core.Logger().Error("events: malformed recover reply", "bus", c.d.bus, "group", c.run.sub.name, "error", err)
			return false
		}
		if last == "" {
			return true
		}
		if from, err = after(last); err != nil {
			return false
		}
	}
}
