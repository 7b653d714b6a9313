package events

import (
	"context"
	"strconv"
	"time"
)

// recover takes up what was read but not finished: at the start what the owner before left, later what got lost with
// an answer.
func (x *session) recover(ctx context.Context, takeover bool) bool {
	keys := []string{x.p.stream, x.keys.lease, x.keys.retry, x.keys.tries, x.keys.parked}
	from, wait := "0-0", retryFirst
	for {
		sent := time.Now()
		msg, err := x.eval(ctx, recoverScript, keys, []string{x.token, millis(x.d.opt.Lease), x.run.sub.name, from, strconv.Itoa(maxRead),
			strconv.Itoa(window), strconv.Itoa(x.room()), strconv.Itoa(x.chunk())})
		if err != nil {
			x.complain("what the owner before left can't be taken up", err)
			if x.lapsed() || ctx.Err() != nil || !x.pause(ctx, wait) {
				return false
			}
			wait = min(2*wait, retryMost)
			continue
		}
		if msg.IsNil() {
			return false
		}
		if !x.renewed(sent) {
			return false
		}
		last, err := x.adopt(msg, takeover)
		if err != nil {
			x.d.core.Logger().Error("events: what an owner left can't be read", "bus", x.d.bus, "group", x.run.sub.name, "error", err)
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
