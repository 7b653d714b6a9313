package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Plans are rules of a limiter that change at run time. A plan has a name: a tariff, a customer, a
// single key. Plans are stored in Redis. Each process keeps the plans that it uses in memory.
//
//	plans, err := ratelimit.NewPlans(limiter, ratelimit.PlansOptions{})
//	…
//	err = plans.Set(ctx, "pro", ratelimit.PerSecond(100))           // a tariff
//	err = plans.Set(ctx, "user:42", ratelimit.Rule{Limit: ratelimit.Unlimited}) // one key
//	…
//	result, err := plans.For(ctx, user, tariff).Allow(ctx, user)    // rules of the user, else of the tariff, else of limiter
//
// Use [NewPlans]. Its methods are safe for concurrent use.
type Plans struct {
	base *Limiter
	key  string
	opt  PlansOptions

	mu       sync.RWMutex
	cache    planCache
	version  int64     // version of all plans; 0: no plan is stored
	asked    time.Time // when the version was read
	changed  time.Time // when this process last changed a plan: earlier reads are too old
	failing  bool      // the last read failed: the known plans are used
	retry    time.Time // when Redis is asked again after a failure
	reads    map[string]*planRead
	checking atomic.Bool // a read without waiting callers is in flight
}

// PlansOptions configure [Plans]. The zero value is the default.
type PlansOptions struct {
	// Refresh is the time within which every process uses a change, as long as Redis answers.
	// Default 1 s, at least 10 ms. A process that uses plans sends about two small reads per
	// Refresh, and one read per plan that is not in memory.
	Refresh time.Duration
	// MaxNames and MaxBytes bound the plans in memory. Default 10,000 names and 8 MiB. Names
	// without rules count too. A new name replaces a name that was not used for a long time. The
	// replaced name costs a round trip at its next use.
	MaxNames int
	MaxBytes int
}

const (
	planRetry   = time.Second // between two attempts while Redis does not answer
	planNames   = 8           // names in one call of For
	planPending = 1024        // reads in flight that callers share
)

// NewPlans returns the plans of a limiter. Limiters with the same name and namespace have the same
// plans.
func NewPlans(l *Limiter, opts PlansOptions) (*Plans, error) {
	if l == nil {
		return nil, errors.New("ratelimit: NewPlans: the limiter is nil: use New")
	}

	if opts.Refresh == 0 {
		opts.Refresh = time.Second
	}

	if opts.MaxNames == 0 {
		opts.MaxNames = 10_000
	}

	if opts.MaxBytes == 0 {
		opts.MaxBytes = 8 << 20
	}

	switch {
	case opts.Refresh < 10*time.Millisecond || opts.Refresh > time.Hour:
		return nil, fmt.Errorf("ratelimit: PlansOptions.Refresh is %v: it must be between 10ms and 1h", opts.Refresh)
	case opts.MaxNames < 1 || opts.MaxNames > 1<<24:
		return nil, fmt.Errorf("ratelimit: PlansOptions.MaxNames is %d: it must be between 1 and %d", opts.MaxNames, 1<<24)
	case opts.MaxBytes < 16<<10:
		return nil, fmt.Errorf("ratelimit: PlansOptions.MaxBytes is %d: it must be at least %d", opts.MaxBytes, 16<<10)
	}

	p := &Plans{base: l, key: plansKey(l.space), opt: opts, reads: map[string]*planRead{}}
	p.cache = newPlanCache(opts.MaxNames, opts.MaxBytes)
	return p, nil
}

// For returns a limiter with the rules of the first name that has stored rules, of at most 8 names.
// If no name has rules, it returns the limiter of [NewPlans]. It never returns nil. Use the limiter
// immediately, because its rules are the present ones. Limiters with equal rules share queues,
// leases and counts. A changed rule counts from zero. A call of Wait keeps the rules with which it
// started.
//
// For takes no round trip if the names are in memory. Otherwise it takes one for all names. While
// Redis does not answer, For does not wait. It uses the last rules that this process read for a
// name, and the limiter of NewPlans for other names.
func (p *Plans) For(ctx context.Context, names ...string) *Limiter {
	names = names[:min(len(names), planNames)]
	l, current := p.known(names, p.base.core.Time().Now())
	if !current {
		if read, ok := p.read(ctx, names); ok {
			l = read
		} else {
			l, _ = p.known(names, p.base.core.Time().Now())
		}
	}

	if l == nil {
		return p.base
	}

	return l
}

// known returns the limiter for the known plans, or nil if no name has rules. current reports that
// no read is needed.
func (p *Plans) known(names []string, now time.Time) (l *Limiter, current bool) {
	p.mu.RLock()
	age := since(p.asked, now)
	if p.failing {
		current = true
		if now.Before(p.retry) {
			age = 0
		}
	} else {
		current = age < p.opt.Refresh
	}

	for _, name := range names {
		if p.version == 0 { // no plan is stored
			break
		}
		if name == "" || len(name) > maxKey { // such a name has no rules
			continue
		}
		e := p.cache.find(name, now)
		if !p.failing && (e == nil || e.version != p.version) {
			current = false
		}
		if e != nil && e.limiter != nil {
			l = e.limiter
			break
		}
	}

	p.mu.RUnlock()

	if current && age > p.opt.Refresh/2 {
		p.check(names)
	}

	return l, current
}

// since returns the larger of the monotonic and the wall time, because a suspended machine stops
// the monotonic clock.
func since(then, now time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// planRead is a read of some names in flight.
type planRead struct {
	began   time.Time
	done    chan struct{} // closed when the fields below are set
	limiter *Limiter
	ok      bool
}

// read reads the names. It returns the limiter of the first name with rules, or nil. Callers with
// the same names share a read. ok is false if Redis did not answer in time: then the known plans
// remain.
func (p *Plans) read(ctx context.Context, names []string) (l *Limiter, ok bool) {
	names = slices.Clone(names)
	r := p.share(names)
	if r == nil {
		return p.load(ctx, names)
	}
	select {
	case <-r.done:
		return r.limiter, r.ok
	case <-ctx.Done():
		return nil, false
	}
}

// share returns the read of the names in flight, or starts one. It returns nil if too many reads
// are in flight.
func (p *Plans) share(names []string) *planRead {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%d:%s", len(name), name)
	}

	key := b.String()

	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.reads[key]; r != nil && !r.began.Before(p.changed) {
		return r
	}

	if len(p.reads) >= planPending {
		return nil
	}

	r := &planRead{began: p.base.core.Time().Now(), done: make(chan struct{})}
	begun := p.base.core.Group().Work("read of plans", func(ctx context.Context) {
		defer p.end(key, r)
		r.limiter, r.ok = p.load(ctx, names)
	})
	if !begun { // the client is closed
		return nil
	}

	p.reads[key] = r
	return r
}

func (p *Plans) end(key string, r *planRead) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reads[key] == r {
		delete(p.reads, key)
	}
	close(r.done)
}

// check reads the names again, while callers use the known plans.
func (p *Plans) check(names []string) {
	if !p.checking.CompareAndSwap(false, true) {
		return
	}
	names = slices.Clone(names)
	if !p.base.core.Group().Work("check of plans", func(ctx context.Context) {
		defer p.checking.Store(false)
		p.load(ctx, names)
	}) {
		p.checking.Store(false)
	}
}

// load reads the names, stores the result, and returns the limiter of the first name with rules.
func (p *Plans) load(ctx context.Context, names []string) (l *Limiter, ok bool) {
	own, cancel := context.WithTimeout(ctx, p.base.timeout())
	defer cancel()
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" || len(name) > maxKey })
	sent := p.base.core.Time().Now()
	version, texts, err := p.fetch(own, names)
	switch {
	case err == nil:
		l, err = p.store(names, texts, version, sent)
		ok = true
	case ctx.Err() != nil: // the end of the caller's context says nothing about Redis
		return nil, false
	default:
		p.fail()
	}

	if err != nil {
		p.base.core.Degraded("ratelimit", p.base.name, "last known plans", err)
	}

	return l, ok
}

func (p *Plans) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing, p.retry = true, p.base.core.Time().Now().Add(planRetry)
}

// store stores what was read. It returns the limiter of the first name with rules. The error
// reports rules that cannot be read: then the known rules remain.
func (p *Plans) store(names, texts []string, version int64, sent time.Time) (l *Limiter, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = false
	if sent.After(p.asked) && sent.After(p.changed) {
		p.version, p.asked = version, sent
	}

	if version == 0 { // no plan is stored
		return nil, nil
	}

	for i, name := range names {
		err = errors.Join(err, p.keepOne(name, texts[i], version, sent))
		// before another name replaces the entry
		if e := p.cache.entries[name]; l == nil && e != nil {
			l = e.limiter
		}
	}

	return l, err
}

func (p *Plans) keepOne(name, text string, version int64, sent time.Time) error {
	before := p.cache.entries[name]
	switch {
	case before != nil && before.asked.After(sent): // a later read was stored first
		return nil
	case before != nil && before.text == text:
		before.version, before.asked = version, sent
		return nil
	case text == "":
		p.cache.put(name, "", nil, version, sent)
		return nil
	}

	l, err := p.limiter(text)
	if err != nil && before != nil {
		before.version, before.asked = version, sent
		return err
	}

	p.cache.put(name, text, l, version, sent)
	return err
}

// limiter returns the limiter for rules. All names with the same rules share it.
func (p *Plans) limiter(text string) (*Limiter, error) {
	if l := p.cache.limiters[text]; l != nil {
		return l.limiter, nil
	}

	rules, err := decodePlan(text)
	if err != nil {
		return nil, err
	}

	plan, err := newPlan(p.base.opt.Algorithm, rules)
	if err != nil {
		return nil, err
	}

	lease, err := p.base.opt.leaseFor(plan)
	// a burst below Lease.Batch, or a window below Lease.Hold: the plan's keys are not leased
	if err != nil {
		lease = Lease{}
	}

	return p.base.with(plan, lease), nil
}

// expireVersion makes the next call of For read from Redis.
func (p *Plans) expireVersion() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.changed, p.retry = time.Time{}, p.base.core.Time().Now(), time.Time{}
}
