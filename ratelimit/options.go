package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Options configure a Limiter. Only Rules is required.
type Options struct {
	// Rules must all allow a request; then all are charged, or none (R2). At most 16.
	Rules []Rule
	// Algorithm is how requests are counted; default GCRA. Limiters of one name must agree on it: state of
	// another algorithm is another count.
	Algorithm Algorithm
	// Outage is what happens while Redis does not answer; default FailOpen.
	Outage Outage
	// Timeout is how long a call waits for Redis before Outage decides; default and most: the client's CommandTimeout.
	Timeout time.Duration
	// LocalShare is this process' part of each limit under FailLocal, above 0 and at most 1: with n processes, 1/n.
	// Required with FailLocal, refused without.
	LocalShare float64
	// MaxLocalKeys is how many keys FailLocal counts apart in this process; default 65,536. Further keys share one count.
	MaxLocalKeys int
	// MaxWaiters is how many callers of one key Wait at once in this process; default 10,000, at most 1,000,000. Further ones get
	// ErrQueueFull.
	MaxWaiters int
	// Lease, if its Batch is set, lets this process take tokens of its busiest keys in batches.
	Lease Lease
	// Fields are the response fields that Middleware sends beside Retry-After; default FieldsDraft11.
	Fields Fields
	// Shadow makes Middleware let every request pass and count what it would have refused. It sends no fields.
	// Allow and the others answer as always.
	Shadow bool
	// HashKeys makes Stats name refused keys by a SHA-256 prefix instead of in clear.
	HashKeys bool
}

// Rule allows Limit tokens per Window. A request costs one token, AllowN's n.
//
// A Limit of 0 refuses every request. Unlimited admits every request, as far as this rule is concerned, and needs no Window. Both
// are decided in this process, without a round trip.
//
// Name stands in Result.Rule, in the response fields and in metrics: printable ASCII, up to 64 bytes; default
// Limit/Window, such as "100/1m" or "1000/day Europe/Berlin". Rules that differ in anything, the name included, count apart also on the same key;
// equal rules in two plans (With) share their count.
//
// Burst is how many tokens GCRA admits at once; 0 means Limit. Other algorithms refuse it: theirs is Limit.
//
// Calendar, in place of Window, makes windows that begin with the hour, day, week or month of Zone; nil is UTC. It is for FixedWindow, next to
// rules with a Window if need be. In which window a request is, RetryAfter and the reset are exact to the microsecond of the server's clock, also
// when the clocks change. All processes need the same time zone database; time.Local is refused, since it differs between machines.
type Rule struct {
	Name     string
	Limit    int64
	Window   time.Duration
	Burst    int64
	Calendar Calendar
	Zone     *time.Location
}

// Unlimited is the Limit of a rule that never refuses: the plan of an administrator, or of a customer without a quota.
const Unlimited int64 = -1

// Never is the RetryAfter of a refusal by a rule whose Limit is 0: the same request is never admitted.
const Never time.Duration = math.MaxInt64

// PerSecond allows n tokens per second.
func PerSecond(n int64) Rule { return Rule{Limit: n, Window: time.Second} }

// PerMinute allows n tokens per minute.
func PerMinute(n int64) Rule { return Rule{Limit: n, Window: time.Minute} }

// PerHour allows n tokens per hour.
func PerHour(n int64) Rule { return Rule{Limit: n, Window: time.Hour} }

// Algorithm is how requests are counted. The package comment compares them.
type Algorithm uint8

// The algorithms.
const (
	GCRA          Algorithm = iota // a steady rate with a burst; the default
	SlidingLog                     // exact in every window, memory per request
	SlidingWindow                  // two counters and an estimate
	FixedWindow                    // one counter per window aligned to the clock
)

// String returns the algorithm's name.
func (a Algorithm) String() string {
	if int(a) < len(algorithms) {
		return algorithms[a].name
	}
	return fmt.Sprintf("Algorithm(%d)", uint8(a))
}

// Outage is what a Limiter does when Redis can't be asked: unreachable, out of memory, denying access, or silent for the
// command timeout. None of them makes a refusal out of it (R5). The end of the caller's own context is no outage: it is the
// caller's error under every policy. A degraded answer is logged, at most once in 10 s.
type Outage uint8

// The outage policies.
const (
	// FailOpen admits and says Degraded; the default.
	FailOpen Outage = iota
	// FailClosed returns the error, of one of redstart's classes; Middleware answers 503.
	FailClosed
	// FailLocal enforces LocalShare of each limit in this process and says Degraded.
	FailLocal
)

// String returns the policy's name.
func (o Outage) String() string {
	switch o {
	case FailOpen:
		return "fail-open"
	case FailClosed:
		return "fail-closed"
	case FailLocal:
		return "fail-local"
	}
	return fmt.Sprintf("Outage(%d)", uint8(o))
}

// Fields are the response fields that Middleware sends.
type Fields uint8

// The fields' formats.
const (
	// FieldsDraft11 sends RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers-11. It is a draft:
	// names of parameters can still change, and then there will be another value here.
	FieldsDraft11 Fields = iota
	// FieldsOff sends Retry-After alone.
	FieldsOff
)

// Lease lets a process take tokens of its busiest keys in batches and hand them out without a round trip.
//
// A key is leased once this process asked for an eighth of Batch of its tokens within a second. Tokens are charged in
// Redis when they are taken, so over all processes
//
//	admitted in any window ≤ the algorithm's bound + processes · Batch
//
// because each process can hold up to Batch tokens from before the window. When an eighth of Batch is left, the other seven are
// taken in the background: who asks for a busy key does not wait for Redis. Tokens that were not used within Hold are
// given up; GCRA gives back what has not drained by then. While tokens are held, Reset by another process and the
// budget's end are noticed when they are used up or given up. Remaining and ResetAfter of a leased answer are as of
// the last answer of Redis.
type Lease struct {
	// Batch is how many tokens are held at most, up to the smallest burst of the rules; 0 = no leasing. A tenth of the
	// smallest limit, divided by the number of processes, is a good start.
	Batch int64
	// Hold is how long unused tokens are kept; default 1 s, at most the shortest Window.
	Hold time.Duration
	// MaxKeys is how many keys are leased at once; default 1,024.
	MaxKeys int
}

const (
	maxRules   = 16
	maxName    = 64
	maxLimit   = 1_000_000_000
	maxWindow  = 366 * 24 * time.Hour
	maxKey     = 1024
	maxHorizon = 10 * maxWindow // Burst·Window/Limit

	defaultLocalKeys = 1 << 16
	defaultLeaseKeys = 1024
	defaultHold      = time.Second
)

func (o Options) withDefaults() (Options, error) {
	if int(o.Algorithm) >= len(algorithms) {
		return o, fmt.Errorf("ratelimit: Options.Algorithm: unknown value %d", o.Algorithm)
	}
	switch o.Outage {
	case FailOpen, FailClosed:
		if o.LocalShare != 0 {
			return o, errors.New("ratelimit: Options.LocalShare is for Outage: FailLocal")
		}
	case FailLocal:
		if !(o.LocalShare > 0 && o.LocalShare <= 1) {
			return o, fmt.Errorf("ratelimit: Options.LocalShare is %v: FailLocal needs this process' part of the limits, above 0 and at most 1", o.LocalShare)
		}
	default:
		return o, fmt.Errorf("ratelimit: Options.Outage: unknown value %d", o.Outage)
	}
	if o.Timeout != 0 && o.Timeout < time.Millisecond {
		return o, fmt.Errorf("ratelimit: Options.Timeout is %v: it must be 0 (the client's CommandTimeout) or at least 1ms", o.Timeout)
	}
	if o.Fields > FieldsOff {
		return o, fmt.Errorf("ratelimit: Options.Fields: unknown value %d", o.Fields)
	}
	for _, f := range []struct {
		name      string
		value     *int
		def, most int
	}{
		{"MaxLocalKeys", &o.MaxLocalKeys, defaultLocalKeys, 1 << 24},
		{"Lease.MaxKeys", &o.Lease.MaxKeys, defaultLeaseKeys, 1 << 24},
		{"MaxWaiters", &o.MaxWaiters, defaultWaiters, 1_000_000},
	} {
		if *f.value < 0 || *f.value > f.most {
			return o, fmt.Errorf("ratelimit: Options.%s is %d: it must be between 0 (default %d) and %d", f.name, *f.value, f.def, f.most)
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	return o, nil
}

// leaseFor checks and completes the lease options against a plan's rules.
func (o Options) leaseFor(p *plan) (Lease, error) {
	lease := o.Lease
	if p.verdict != asks { // nothing is charged
		return Lease{}, nil
	}
	if lease.Batch == 0 {
		if lease.Hold != 0 {
			return lease, errors.New("ratelimit: Options.Lease.Hold is set but Lease.Batch is not")
		}
		return lease, nil
	}
	shortest := maxWindow
	for _, r := range p.rules {
		shortest = min(shortest, r.Window)
		if lease.Batch < 0 || lease.Batch > r.burst() {
			return lease, fmt.Errorf("ratelimit: Options.Lease.Batch is %d: it must be between 0 (no leasing) and the burst of rule %q, %d", lease.Batch, r.Name, r.burst())
		}
	}
	if lease.Hold == 0 {
		lease.Hold = min(defaultHold, shortest)
	}
	if lease.Hold < 0 || lease.Hold > shortest {
		return lease, fmt.Errorf("ratelimit: Options.Lease.Hold is %v: it must be above 0 and at most the shortest window, %v", lease.Hold, shortest)
	}
	return lease, nil
}

func (r Rule) burst() int64 {
	if r.Burst > 0 {
		return r.Burst
	}
	return r.Limit
}

func (r Rule) check(i int, a Algorithm) error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("ratelimit: Rules[%d].%s is %v: it must be %s", i, field, value, want)
	}
	switch {
	case r.Limit < Unlimited || r.Limit > maxLimit:
		return bad("Limit", r.Limit, fmt.Sprintf("between 0 (refuses all) and %d, or Unlimited", maxLimit))
	case r.Limit <= 0 && r.Burst != 0:
		return bad("Burst", r.Burst, "0: the rule counts nothing")
	case r.Limit == Unlimited && r.Window == 0 && r.Calendar == 0:
		// A rule without a limit needs no window.
	case r.Calendar > Month:
		return bad("Calendar", r.Calendar, "Hour, Day, Week or Month")
	case r.Calendar != 0 && a != FixedWindow:
		return bad("Calendar", r.Calendar, "left out: only FixedWindow counts by a calendar, not "+a.String())
	case r.Calendar != 0 && r.Window != 0:
		return bad("Window", r.Window, "0: Calendar says when windows begin")
	case r.Calendar != 0 && r.Zone == time.Local:
		return bad("Zone", r.Zone, "the same in every process: use time.LoadLocation")
	case r.Calendar != 0:
		// Its windows are those of the calendar.
	case r.Zone != nil:
		return bad("Zone", r.Zone, "left out: it is for a Calendar")
	case r.Window < time.Millisecond || r.Window > maxWindow || r.Window%time.Microsecond != 0:
		return bad("Window", r.Window, fmt.Sprintf("between 1ms and %v, in whole microseconds", maxWindow))
	case r.Burst < 0 || r.Burst > maxLimit:
		return bad("Burst", r.Burst, fmt.Sprintf("0 (as Limit) or between 1 and %d", maxLimit))
	case r.Burst != 0 && a != GCRA:
		return bad("Burst", r.Burst, "0: only GCRA has one, "+a.String()+" admits Limit at once")
	case r.Limit > 0 && float64(r.burst())*float64(r.Window)/float64(r.Limit) > float64(maxHorizon):
		return bad("Burst", r.Burst, "refilled within ten years")
	}
	if len(r.Name) > maxName {
		return bad("Name", fmt.Sprintf("%d bytes long", len(r.Name)), fmt.Sprintf("at most %d", maxName))
	}
	if !isPrintable(r.Name) {
		return bad("Name", fmt.Sprintf("%q", r.Name), "printable ASCII: it stands in a response field")
	}
	if zone := r.Zone; zone != nil && (!isPrintable(zone.String()) || len(zone.String()) > maxName/2) {
		return bad("Zone", fmt.Sprintf("%q", zone), fmt.Sprintf("named in printable ASCII, up to %d bytes", maxName/2))
	}
	return nil
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) < 0
}

// defaultName is "100/1m", "100/1m+500" where the burst differs, or "unlimited".
func (r Rule) defaultName() string {
	if r.Limit == Unlimited {
		return "unlimited"
	}
	if r.Calendar != 0 {
		return fmt.Sprintf("%d/%v %v", r.Limit, r.Calendar, r.Zone)
	}
	name := fmt.Sprintf("%d/%s", r.Limit, short(r.Window))
	if r.Burst > 0 && r.Burst != r.Limit {
		name += fmt.Sprintf("+%d", r.Burst)
	}
	return name
}

func short(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d%unit.of == 0 {
			return fmt.Sprintf("%d%s", d/unit.of, unit.name)
		}
	}
	return d.String()
}

// seconds is a duration in whole seconds, rounded up: a client that waits so long does not come too early.
func seconds(d time.Duration) int64 {
	return int64(math.Ceil(d.Seconds()))
}
