package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Options configure a [Limiter]. Only Rules is required.
type Options struct {
	// Rules limit the requests of a key. If all rules have enough tokens, all are charged;
	// otherwise none is (R2). From 1 to 16 rules.
	Rules []Rule
	// Algorithm is how requests are counted. Default [GCRA]. Limiters of one name must use the same
	// algorithm: each algorithm has its own counts.
	Algorithm Algorithm
	// Outage is what happens while Redis does not answer. Default [FailOpen].
	Outage Outage
	// Timeout is how long a call waits for Redis before Outage decides. Default and maximum: the
	// client's CommandTimeout.
	Timeout time.Duration
	// LocalShare is this process' part of each limit with [FailLocal], above 0 and at most 1: with
	// n processes, 1/n. Required with FailLocal, and refused without it.
	LocalShare float64
	// MaxLocalKeys is how many keys [FailLocal] counts separately in this process. Default 65,536.
	// Further keys share one count.
	MaxLocalKeys int
	// MaxWaiters is how many callers of one key wait in [Limiter.Wait] in this process. Default
	// 10,000, at most 1,000,000. Further callers get [ErrQueueFull].
	MaxWaiters int
	// Lease lets this process take tokens of its busiest keys in batches. Default: no leasing.
	Lease Lease
	// Fields are the response fields that Middleware sends in addition to Retry-After. Default
	// [FieldsDraft11].
	Fields Fields
	// Shadow makes Middleware admit every request and count the requests that it would have
	// refused. It sends no fields. Other methods are not changed.
	Shadow bool
	// HashKeys makes [Stats] name refused keys by a prefix of their SHA-256 hash. Default: the keys
	// themselves.
	HashKeys bool
}

// Rule allows Limit tokens per Window. A request costs one token; AllowN charges n.
//
// Limit is from 0 to 1,000,000,000, or [Unlimited]. With a Limit of 0, every request is refused.
// Both are decided in this process, without a round trip. An unlimited rule needs no Window.
//
// Name appears in [Result.Rule], in the response fields and in metrics. It is printable ASCII, up
// to 64 bytes. Default: Limit/Window, such as "100/1m" or "1000/day Europe/Berlin". Rules that
// differ in any field, including the name, count separately on the same key. Equal rules of two
// plans ([Limiter.With]) share their count.
//
// Burst is how many tokens GCRA admits at once. Default 0: Limit. Other algorithms refuse Burst,
// because they admit Limit at once.
//
// Calendar replaces Window. Its windows start with the hour, day, week or month of Zone (nil: UTC).
// It requires [FixedWindow]; other rules of the limiter may have a Window. The window of a request,
// RetryAfter and the reset are exact to the microsecond of the server's clock, also when the local
// clock changes. All processes must have the same time zone database. New refuses time.Local,
// because it differs between machines.
type Rule struct {
	Name     string
	Limit    int64
	Window   time.Duration
	Burst    int64
	Calendar Calendar
	Zone     *time.Location
}

// Unlimited is the Limit of a rule that never refuses, for example for an administrator or a
// customer without a quota.
const Unlimited int64 = -1

// Never is the RetryAfter of a refusal by a rule with a Limit of 0: the same request is never
// admitted.
const Never time.Duration = math.MaxInt64

// PerSecond returns a rule of n tokens per second.
func PerSecond(n int64) Rule { return Rule{Limit: n, Window: time.Second} }

// PerMinute returns a rule of n tokens per minute.
func PerMinute(n int64) Rule { return Rule{Limit: n, Window: time.Minute} }

// PerHour returns a rule of n tokens per hour.
func PerHour(n int64) Rule { return Rule{Limit: n, Window: time.Hour} }

// Algorithm is how requests are counted. The documentation of the package compares the algorithms.
type Algorithm uint8

// The algorithms. See the section Guarantees of the package.
const (
	GCRA          Algorithm = iota // a steady rate with a burst; the default
	SlidingLog                     // exact in every window; memory per request
	SlidingWindow                  // two counters and an estimate
	FixedWindow                    // one counter per window, aligned to the clock
)

// String returns the algorithm's name.
func (a Algorithm) String() string {
	if int(a) < len(algorithms) {
		return algorithms[a].name
	}
	return fmt.Sprintf("Algorithm(%d)", uint8(a))
}

// Outage is what a [Limiter] does when Redis does not answer: it is unreachable, out of memory,
// denies access, or exceeds the timeout. A [Limiter] never refuses because of an outage (R5),
// except with FailLocal beyond the local share. The end of the caller's own context is not an
// outage: it is the caller's error with every policy. Degraded answers are logged, at most once in
// 10 s.
type Outage uint8

// The outage policies.
const (
	// FailOpen admits the request and sets Degraded. It is the default.
	FailOpen Outage = iota
	// FailClosed returns an error with one of the classes of package redstart. Middleware answers
	// 503.
	FailClosed
	// FailLocal enforces LocalShare of each limit in this process and sets Degraded.
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

// The formats of the fields.
const (
	// FieldsDraft11 sends RateLimit-Policy and RateLimit as in
	// draft-ietf-httpapi-ratelimit-headers-11. If the standard differs from this draft, it gets
	// another constant.
	FieldsDraft11 Fields = iota
	// FieldsOff sends Retry-After only.
	FieldsOff
)

// Lease lets a process take tokens of its busiest keys in batches and use them without a round
// trip.
//
// A key is leased after this process requested an eighth of Batch of its tokens within a second.
// Tokens are charged in Redis when they are taken. So, over all processes:
//
//	admitted in any window ≤ the algorithm's bound + processes · Batch
//
// The reason is that each process can have up to Batch tokens from before the window. When an
// eighth of Batch is left, the other seven eighths are taken in the background, so callers of a
// busy key do not wait for Redis.
//
// Tokens that are unused after Hold are returned, as far as the algorithm allows: GCRA gets back
// what has not drained in the meantime. While a process has tokens, it notices a Reset by another
// process, and the end of the limit, only after these tokens are used or returned. Remaining and
// ResetAfter of a leased answer are from the last answer of Redis.
type Lease struct {
	// Batch is the maximum number of tokens in this process, up to the smallest burst of the rules.
	// Default 0: no leasing. A good start is a tenth of the smallest limit, divided by the number
	// of processes.
	Batch int64
	// Hold is how long unused tokens are kept. Default 1 s, at most the shortest Window.
	Hold time.Duration
	// MaxKeys is how many keys are leased at once. Default 1,024.
	MaxKeys int
}

const (
	maxRules   = 16
	maxName    = 64
	maxLimit   = 1_000_000_000
	maxWindow  = 366 * 24 * time.Hour
	maxKey     = 1024
	maxHorizon = 10 * maxWindow // limit of Burst · Window / Limit

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
			return o, fmt.Errorf("ratelimit: Options.LocalShare is %v: "+
				"FailLocal needs this process' part of the limits, above 0 and at most 1", o.LocalShare)
		}
	default:
		return o, fmt.Errorf("ratelimit: Options.Outage: unknown value %d", o.Outage)
	}

	if o.Timeout != 0 && o.Timeout < time.Millisecond {
		return o, fmt.Errorf("ratelimit: Options.Timeout is %v: it must be 0 (the client's CommandTimeout) or at least 1ms",
			o.Timeout)
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
			return o, fmt.Errorf("ratelimit: Options.%s is %d: it must be between 0 (default %d) and %d",
				f.name, *f.value, f.def, f.most)
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}

	return o, nil
}

// leaseFor validates and completes the lease options for a plan's rules.
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
			return lease, fmt.Errorf("ratelimit: Options.Lease.Batch is %d: it must be between 0 (no leasing) "+
				"and the burst of rule %q, %d", lease.Batch, r.Name, r.burst())
		}
	}

	if lease.Hold == 0 {
		lease.Hold = min(defaultHold, shortest)
	}

	if lease.Hold < 0 || lease.Hold > shortest {
		return lease, fmt.Errorf("ratelimit: Options.Lease.Hold is %v: it must be above 0 and at most the shortest window, %v",
			lease.Hold, shortest)
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
		// The calendar of this zone determines the windows.
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

// defaultName returns "100/1m", "100/1m+500" if the burst differs from the limit, or "unlimited".
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

// seconds returns a duration in whole seconds, rounded up, so that a client that waits so long is
// not too early.
func seconds(d time.Duration) int64 {
	return int64(math.Ceil(d.Seconds()))
}
