package events

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
)

// DurableOptions configure a Durable bus. All processes of a bus need the same Partitions.
type DurableOptions struct {
	// Partitions is how many streams the bus has. Events of one channel are in one of them, and one process at a time
	// works on a partition for a group: it bounds how many processes share the work. It is stored on first use and can't
	// be changed; default 16, at most 1024.
	Partitions int
	// Retention keeps events for so long, and no longer: what no group has handled by then is cut and reported
	// through OnGap. Default 0: an event is kept until every registered group has acknowledged it, then cut.
	Retention time.Duration
	// MaxLen keeps at most so many events per partition, and cuts the oldest, handled or not. Default 0: no limit.
	MaxLen int64
	// Dedup is how long an ID that a producer gave is remembered. Default 10 min. NoDedup: ids are not remembered.
	Dedup time.Duration
	// DeadLetters is how many dead letters are kept per group and partition; more push out the oldest. Default 10,000.
	DeadLetters int64
	// Lease is how long a process owns a partition without renewing: a dead process' partitions pass on after at most this and
	// two seconds. Handlers of a process that can't renew are cancelled at four fifths of it. Default 10 s, at least 1 s.
	Lease time.Duration

	Source string // of events that say nothing else; default "redstart"
	// MaxBytes is how large one event may be, envelope included. Default 256 KiB, at most 256 MiB. Give all processes of a bus the
	// same value: consumers use it to bound what the server reads at once. Store larger data elsewhere and publish its address.
	MaxBytes int
	Trace    TraceContext
	// Foreign accepts stored JSON objects that are no CloudEvents: {"type":…, "data":…}.
	Foreign bool
}

// Durable is a bus over Streams: every group gets every event at least once. Use NewDurable.
type Durable struct {
	busCommon
	bus   string
	space keys.Space
	opt   DurableOptions
	parts []*partition
	meta  string // hash: partitions

	checked atomic.Int64 // clock: until when the number of partitions is known to be right

	mu   sync.Mutex
	runs map[*durableRun]struct{} // nil once the client closes

	tails   map[int]*tail // by partition, for browsers
	closing chan struct{}

	unregister func() // from the client's Close

	janitor *janitor
}

// partition is one stream.
type partition struct {
	tag                            string
	stream, groups, delayed, later string
	cut                            string       // hash: group to how many events it has missed
	untrimmed                      atomic.Int64 // published by this process since it last trimmed
	trimming                       atomic.Bool
}

var (
	//go:embed trim.lua
	trimSource string

	trimScript = script.New(trimSource)
)

const (
	trimEvery      = 1024
	checkEvery     = 30 * time.Second
	keptUnclaimed  = 24 * time.Hour // events of a partition without any group
	maxPartitions  = 1024
	maxGroup       = 128
	maxMaxBytes    = 256 << 20
	minLease       = time.Second
	leaseMargin    = 5 // a fifth of the lease
	defaultMaxSize = 256 << 10
	longHandler    = 5 * time.Minute
)

// NewDurable returns the durable bus of a name. It sends nothing.
func NewDurable(client *redstart.Client, name string, opts DurableOptions) (*Durable, error) {
	opts.Partitions = orDefault(opts.Partitions, 16)
	opts.Dedup = orDefault(opts.Dedup, 10*time.Minute)
	opts.DeadLetters = orDefault(opts.DeadLetters, 10_000)
	opts.Lease = orDefault(opts.Lease, 10*time.Second)
	opts.MaxBytes = orDefault(opts.MaxBytes, defaultMaxSize)
	switch {
	case client == nil:
		return nil, errors.New("events: NewDurable: the client is nil")
	case name == "":
		return nil, errors.New("events: NewDurable: the name is empty")
	case opts.Partitions < 1 || opts.Partitions > maxPartitions:
		return nil, fmt.Errorf("events: DurableOptions.Partitions is %d: 1 to %d", opts.Partitions, maxPartitions)
	case opts.Retention < 0 || opts.Retention > 0 && opts.Retention < time.Millisecond:
		return nil, fmt.Errorf("events: DurableOptions.Retention is %v: 0, or at least 1 ms", opts.Retention)
	case opts.MaxLen < 0:
		return nil, fmt.Errorf("events: DurableOptions.MaxLen is %d: not negative", opts.MaxLen)
	case opts.Dedup != NoDedup && opts.Dedup < time.Millisecond:
		return nil, fmt.Errorf("events: DurableOptions.Dedup is %v: want at least 1 ms, or NoDedup", opts.Dedup)
	case opts.DeadLetters < 1:
		return nil, fmt.Errorf("events: DurableOptions.DeadLetters is %d: at least 1", opts.DeadLetters)
	case opts.Lease < minLease:
		return nil, fmt.Errorf("events: DurableOptions.Lease is %v: at least %v", opts.Lease, minLease)
	case opts.MaxBytes < 0 || opts.MaxBytes > maxMaxBytes:
		return nil, fmt.Errorf("events: DurableOptions.MaxBytes is %d: at most %d", opts.MaxBytes, maxMaxBytes)
	}
	c := clientcore.Of(client)
	space, err := c.Keys("events", name)
	if err != nil {
		return nil, fmt.Errorf("events: NewDurable: %w", err)
	}
	d := &Durable{bus: name, space: space, opt: opts, meta: space.Key("bus"), runs: make(map[*durableRun]struct{}), closing: make(chan struct{}), tails: make(map[int]*tail),
		busCommon: busCommon{core: c, name: name, source: orDefault(opts.Source, "redstart"), maxBytes: opts.MaxBytes, trace: opts.Trace, foreign: opts.Foreign}}
	for i := range opts.Partitions {
		tag := strconv.Itoa(i)
		d.parts = append(d.parts, &partition{tag: tag, stream: space.Key(tag), groups: space.Sibling(tag, "groups"), delayed: space.Sibling(tag, "delayed"), later: space.Sibling(tag, "later"), cut: space.Sibling(tag, "cut")})
	}
	d.janitor = newJanitor(d)
	d.life.init()
	d.still = d.janitor.stillGroups
	d.life.release = d.register("durable")
	d.unregister = c.OnClose(d.close)
	return d, nil
}

// Subscriber makes a subscriber of the group with this name.
func (d *Durable) Subscriber(group string, opts SubscriberOptions) (*Subscriber, error) {
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	return newSubscriber(&d.busCommon, durableBus, group, opts, d.serve)
}

func checkGroup(group string) error {
	switch {
	case group == "":
		return errors.New("events: the group's name is empty")
	case len(group) > maxGroup:
		return fmt.Errorf("events: the group's name has %d bytes, the limit is %d", len(group), maxGroup)
	}
	return nil
}

// Stats returns what this process has published.
func (d *Durable) Stats() BusStats { return d.stats.snapshot() }

func (d *Durable) common() *busCommon { return &d.busCommon }

// check learns once, and again now and then, whether the bus has as many partitions as we think.
func (d *Durable) check(ctx context.Context) error {
	if err := d.life.open(); err != nil {
		return err
	}
	now := d.core.Clock().Now()
	if now < time.Duration(d.checked.Load()) {
		return nil
	}
	n := strconv.Itoa(len(d.parts))
	msg, err := d.core.Do(ctx, core.Read("HGET", d.meta, "partitions"))
	if err == nil && msg.IsNil() {
		if _, err = d.core.Do(ctx, core.Write("HSETNX", d.meta, "partitions", n)); err == nil {
			msg, err = d.core.Do(ctx, core.Read("HGET", d.meta, "partitions"))
		}
	}
	if err != nil {
		return err
	}
	if stored, err := msg.ToString(); err != nil || stored != n {
		return d.otherPartitions(stored)
	}
	d.checked.Store(int64(now + checkEvery))
	return nil
}

func (d *Durable) otherPartitions(stored string) error {
	return fmt.Errorf("%w: bus %q was first used with %s, DurableOptions.Partitions is %d", ErrPartitions, d.bus, stored, len(d.parts))
}

// trimSoon cuts what is not needed, beside the caller.
func (d *Durable) trimSoon(p *partition) {
	if !p.trimming.CompareAndSwap(false, true) {
		return
	}
	if !d.core.Group().Go("trimming of a stream", func(ctx context.Context) { defer p.trimming.Store(false); d.trim(ctx, p) }) {
		p.trimming.Store(false)
	}
}

// trim is one round trip, or more where many bodies have to be looked at. When it fails the next one will do.
func (d *Durable) trim(ctx context.Context, p *partition) {
	p.untrimmed.Store(0)
	chunk := min(maxChunk, max(1, fetchBytes/d.opt.MaxBytes))
	args := []string{millis(d.opt.Retention), strconv.FormatInt(d.opt.MaxLen, 10), millis(keptUnclaimed), strconv.Itoa(chunk), strconv.Itoa(replyBytes)}
	for more := true; more; {
		msg, err := d.core.Eval(ctx, trimScript, []string{p.stream, p.groups, p.cut}, args)
		if err != nil {
			d.core.Logger().Debug("events: a stream was not trimmed", "bus", d.bus, "error", err)
			return
		}
		parts, err := msg.AsIntSlice()
		if err != nil || len(parts) != 2 {
			d.core.Logger().Error("events: malformed trim reply", "bus", d.bus, "error", err)
			return
		}
		d.stats.trimmed.Add(max(parts[0], 0))
		more = parts[1] == 1
	}
}

// groupKeys are the keys of a group in one partition.
type groupKeys struct {
	group, lease, retry, tries, dead, parked, heads, inbox string
}

func (d *Durable) groupKeys(p *partition, group string) groupKeys {
	g := strings.NewReplacer("%", "%25", ":", "%3A").Replace(group) // so that what follows can't be part of it
	at := func(suffix string) string { return d.space.Sibling(p.tag, suffix) }
	return groupKeys{group: at("group:" + g), lease: at("lease:" + g), retry: at("retry:" + g), tries: at("tries:" + g),
		dead: at("dead:" + g), parked: at("parked:" + g + ":"), heads: at("heads:" + g), inbox: at("inbox:" + g + ":")}
}

// scoped is an event id within its channel: two channels of one partition may use the same.
func scoped(channel, id string) string { return strconv.Itoa(len(channel)) + ":" + channel + id }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// isPosition reports whether s is a stream id.
func isPosition(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}
