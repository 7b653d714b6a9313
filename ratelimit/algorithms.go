package ratelimit

import (
	_ "embed"
	"strconv"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed gcra_rules.lua
	gcraRulesLua string
	//go:embed gcra_one.lua
	gcraOneLua string
	//go:embed gcra_state.lua
	gcraStateLua string
	//go:embed gcra.lua
	gcraLua string
	//go:embed log.lua
	logLua string
	//go:embed sliding.lua
	slidingLua string
	//go:embed fixed.lua
	fixedLua string
)

// algorithms are indexed by Algorithm.
var algorithms = [...]algorithm{
	GCRA: {
		name: "GCRA", suffix: "", many: true, fields: 1,
		charge: script.New(gcraRulesLua + gcraOneLua + gcraStateLua + gcraLua),
		peek:   script.ReadOnly(gcraRulesLua + gcraOneLua + gcraStateLua + gcraLua),
		args: func(r rule) []string {
			return []string{r.id, decimal(r.perToken), decimal(r.perMicro), decimal(r.maxOutstanding)}
		},
		read: readGCRA,
	},
	SlidingLog: {
		name: "SlidingLog", suffix: "log", fields: 4,
		charge: script.New(logLua), peek: script.ReadOnly(logLua),
		args: func(r rule) []string { return []string{decimal(r.Limit), decimal(r.window)} },
		read: readLog,
	},
	SlidingWindow: {
		name: "SlidingWindow", suffix: "sliding", fields: 3,
		charge: script.New(slidingLua), peek: script.ReadOnly(slidingLua),
		args: func(r rule) []string { return []string{r.id, decimal(r.Limit), decimal(r.window)} },
		read: readSliding,
	},
	FixedWindow: {
		name: "FixedWindow", suffix: "fixed", fields: 2,
		charge: script.New(fixedLua), peek: script.ReadOnly(fixedLua),
		args: func(r rule) []string { return []string{r.id, decimal(r.Limit), decimal(r.window)} },
		read: readFixed,
	},
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// readGCRA reads one number: the units outstanding.
func readGCRA(r *rule, in fields, n int64, charged bool) (status, bool) {
	outstanding := in[0]
	if outstanding > r.maxOutstanding {
		return status{}, false
	}

	s := status{remaining: (r.maxOutstanding - outstanding) / r.perToken, reset: ceilDiv(outstanding, r.perMicro)}
	if outstanding > 0 {
		s.next = ceilDiv(outstanding-(r.maxOutstanding-(s.remaining+1)*r.perToken), r.perMicro)
	}

	if over := outstanding + n*r.perToken - r.maxOutstanding; !charged && over > 0 {
		s.retry = ceilDiv(over, r.perMicro)
	}

	return s, true
}

// readFixed reads the count, and the µs until its window ends.
func readFixed(r *rule, in fields, n int64, charged bool) (status, bool) {
	count, left := in[0], in[1]
	if count > r.Limit || left < 1 {
		return status{}, false
	}

	s := status{remaining: r.Limit - count}
	if count > 0 {
		s.next, s.reset = left, left
	}

	if !charged && count+n > r.Limit {
		s.retry = left
	}

	return s, true
}

// readLog reads the tokens in the window, and three times in µs: until the last token has left,
// until the cost of the call fits, and until the first token has left.
func readLog(r *rule, in fields, n int64, charged bool) (status, bool) {
	used, reset, retry, next := in[0], in[1], in[2], in[3]
	if used > r.Limit { // another plan has a higher limit: more remains when one token fits
		next = 0
		if !charged && n == 1 {
			next = retry
		}
	}
	if charged {
		retry = 0
	}
	return status{remaining: max(0, r.Limit-used), reset: reset, retry: retry, next: next}, true
}

// readSliding reads the present count, the last count, and the µs until the present window ends.
func readSliding(r *rule, in fields, n int64, charged bool) (status, bool) {
	cur, prev, left := in[0], in[1], in[2]
	if cur > r.Limit || prev > r.Limit || left < 1 {
		return status{}, false
	}

	w := slidingState{limit: r.Limit, window: r.window, cur: cur, prev: prev, left: left}
	s := status{remaining: w.remaining()}
	switch {
	case cur > 0:
		s.reset = left + r.window
	case prev > 0:
		s.reset = left
	}

	if s.remaining < r.Limit {
		s.next = w.retry(s.remaining + 1)
	}

	if !charged {
		s.retry = w.retry(n)
	}

	return s, true
}

// slidingState is a sliding window counter at one moment.
type slidingState struct {
	limit, window   int64
	cur, prev, left int64
}

// allows is the script's own condition, in µs from now. It uses the same double arithmetic, so that
// a time computed here is the time from which the script admits.
func (w slidingState) allows(n, in int64) bool {
	cur, prev, left := w.cur, w.prev, w.left-in
	for left <= 0 {
		cur, prev, left = 0, cur, left+w.window
	}
	return float64(prev)*float64(min(left, w.window)) <= float64(w.limit-cur-n)*float64(w.window)
}

func (w slidingState) remaining() int64 {
	used := float64(w.prev) * float64(min(w.left, w.window)) / float64(w.window)
	n := max(0, w.limit-w.cur-int64(used))
	for n > 0 && !w.allows(n, 0) {
		n--
	}
	return n
}

// retry returns the first µs at which n tokens fit.
func (w slidingState) retry(n int64) int64 {
	if w.allows(n, 0) {
		return 0
	}

	// The last window has the count that still weighs. If the present count alone exceeds
	// the limit, the search continues in the next window.
	free, weighs, end := w.limit-w.cur-n, w.prev, w.left
	if free < 0 {
		free, weighs, end = w.limit-n, w.cur, w.left+w.window
	}

	rest := int64(float64(free) * float64(w.window) / float64(weighs))
	t := max(1, end-rest)
	for !w.allows(n, t) { // rounding can be wrong by a few µs
		t++
	}

	for t > 1 && w.allows(n, t-1) {
		t--
	}

	return t
}
