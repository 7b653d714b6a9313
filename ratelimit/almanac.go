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

// almanac knows when the windows of a plan with calendar rules begin. The server's clock decides in which window a request is, and knows no
// time zones: the script is given the beginnings of five windows around the time, and answers with its own time if that is outside of them.
type almanac struct {
	plan  *plan
	ahead atomic.Int64 // µs by which the server's clock was ahead of this machine's when the script last answered with its time
	page  atomic.Pointer[page]
}

// page is the arguments that are right while no window of the plan begins.
type page struct {
	from, until int64    // µs
	args        []string // for a cost of 1
	lengths     []int64  // of each rule's present window, in seconds
}

// maxPages is how often a call is repeated because the server's clock is elsewhere. The second attempt is right unless the clock steps again.
const maxPages = 3

var errClock = errors.New("the server's clock steps from call to call")

// now is the server's time, as well as this process knows it.
func (a *almanac) now() int64 { return time.Now().UnixMicro() + a.ahead.Load() }

// at returns the page for a time of the server.
func (a *almanac) at(now int64) *page {
	if p := a.page.Load(); p != nil && now >= p.from && now < p.until {
		return p
	}
	p := &page{args: slices.Clone(a.plan.args), lengths: make([]int64, len(a.plan.rules))}
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
	a.page.Store(p)
	return p
}

// window is how long the present window of the rule at an index lasts, in seconds.
func (a *almanac) window(i int) int64 { return a.at(a.now()).lengths[i] }

// argsAt returns the script's arguments for a cost at a time of the server.
func (p *plan) argsAt(now, cost int64) []string {
	if p.almanac == nil {
		return p.argsFor(cost)
	}
	args := p.almanac.at(now).args
	if cost == 1 {
		return args
	}
	args = slices.Clone(args)
	args[0] = strconv.FormatInt(cost, 10)
	return args
}

// eval runs a script of the plan over one key: one round trip, or two if the server's clock is more than a window off what this process knows.
func (l *Limiter) eval(ctx context.Context, s *script.Script, key string, cost int64) (core.Reply, error) {
	names := [1]string{l.key(key)}
	a := l.plan.almanac
	if a == nil {
		return l.core.Eval(ctx, s, names[:], l.plan.argsFor(cost))
	}
	for range maxPages {
		msg, err := l.core.Eval(ctx, s, names[:], l.plan.argsAt(a.now(), cost))
		if err != nil {
			return msg, err
		}
		server, elsewhere := serverTime(msg)
		if !elsewhere {
			return msg, nil
		}
		a.ahead.Store(server - time.Now().UnixMicro())
	}
	return core.Reply{}, fault.New(fault.ErrUnavailable, errClock, "retry later")
}

// serverTime reads the answer of a script whose time is outside of the windows that it was given.
func serverTime(msg core.Reply) (us int64, elsewhere bool) {
	text, err := msg.ToString()
	if err != nil || text == "" || text[0] != '?' {
		return 0, false
	}
	us, _, elsewhere = number(text[1:])
	return us, elsewhere
}
