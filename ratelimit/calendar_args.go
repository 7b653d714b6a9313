package ratelimit

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

// calendarWindows has the windows of a plan with calendar rules. The server's clock decides in
// which window a request is, but the server has no time zones. So each script receives the starts
// of five windows around the present time. If the server's time is outside of them, the script
// answers with its time.
type calendarWindows struct {
	plan *plan
	// µs that the server's clock was ahead of the local clock at the script's last answer with a
	// time
	clockAhead atomic.Int64
	current    atomic.Pointer[windowArgs]
}

// windowArgs is the arguments of the script. They are valid until a window of the plan starts.
type windowArgs struct {
	from, until int64    // validity, µs
	args        []string // for a cost of 1
	lengths     []int64  // length of each rule's present window, in seconds
}

// maxClockAttempts is how often a call is sent if the server's time is outside of the windows. The
// second attempt is right unless the clock steps again.
const maxClockAttempts = 3

var errClock = errors.New("the server's clock steps from call to call")

// now returns the server's time in µs, as this process estimates it.
func (a *calendarWindows) now() int64 { return time.Now().UnixMicro() + a.clockAhead.Load() }

// at returns the arguments for a time of the server.
func (a *calendarWindows) at(now int64) *windowArgs {
	if p := a.current.Load(); p != nil && now >= p.from && now < p.until {
		return p
	}

	p := &windowArgs{args: slices.Clone(a.plan.args), lengths: make([]int64, len(a.plan.rules))}
	width := (len(p.args) - 1) / len(a.plan.rules)
	for i := range a.plan.rules {
		r := &a.plan.rules[i]
		if r.Calendar == 0 {
			continue
		}
		begins := r.Calendar.around(time.UnixMicro(now).In(r.Zone))
		var text []string
		for _, begin := range begins {
			text = append(text, decimal(begin.UnixMicro()))
		}
		p.args[1+i*width+width-1] = strings.Join(text, " ")
		p.lengths[i] = int64(begins[2].Sub(begins[1]) / time.Second)

		p.from = max(p.from, begins[1].UnixMicro())
		if end := begins[2].UnixMicro(); p.until == 0 || end < p.until {
			p.until = end
		}
	}

	a.current.Store(p)
	return p
}

// window returns the length of the present window of the i-th rule, in seconds.
func (a *calendarWindows) window(i int) int64 { return a.at(a.now()).lengths[i] }

// argsAt returns the script's arguments for a cost at a time of the server.
func (p *plan) argsAt(now, cost int64) []string {
	if p.calendar == nil {
		return p.argsFor(cost)
	}
	args := p.calendar.at(now).args
	if cost == 1 {
		return args
	}
	args = slices.Clone(args)
	args[0] = strconv.FormatInt(cost, 10)
	return args
}

// eval runs a script of the plan for one key. It takes one round trip, or two if the estimate of
// the server's clock is wrong by more than a window.
func (l *Limiter) eval(ctx context.Context, s *script.Script, key string, cost int64) (core.Reply, error) {
	names := [1]string{l.key(key)}
	a := l.plan.calendar
	if a == nil {
		return l.core.Eval(ctx, s, names[:], l.plan.argsFor(cost))
	}

	for range maxClockAttempts {
		msg, err := l.core.Eval(ctx, s, names[:], l.plan.argsAt(a.now(), cost))
		if err != nil {
			return msg, err
		}
		server, elsewhere := serverTime(msg)
		if !elsewhere {
			return msg, nil
		}
		a.clockAhead.Store(server - time.Now().UnixMicro())
	}

	return core.Reply{}, fault.New(fault.ErrUnavailable, errClock, "retry later")
}

// serverTime reads the answer of a script whose time is outside of its windows.
func serverTime(msg core.Reply) (us int64, elsewhere bool) {
	text, err := msg.ToString()
	if err != nil || text == "" || text[0] != '?' {
		return 0, false
	}
	us, _, elsewhere = number(text[1:])
	return us, elsewhere
}
