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

// DurableOptions configures a [Durable] bus. All processes of a bus need the same Partitions and
// MaxBytes.
type DurableOptions struct {
	// Partitions is the number of streams of the bus. All events of one channel are in one stream.
	// For each group, one process at a time works on a partition, so Partitions bounds the
	// processes that share the work. The first use stores the number; it cannot be changed. Default
	// 16, at most 1024.
	Partitions int
	// Retention is how long an event is kept. An older event is cut, and [SubscriberOptions.OnGap]
	// reports it to each group that had not handled it. Default 0: an event is kept until every
	// registered group has acknowledged it. Else at least 1 ms.
	Retention time.Duration
	// MaxLen is how many events a partition keeps. More cut the oldest, handled or not. Default 0:
	// no limit.
	MaxLen int64
	// Dedup is how long an ID that a producer gave is remembered. Default 10 min. NoDedup: IDs are
	// not remembered. Else at least 1 ms.
	Dedup time.Duration
	// DeadLetters is how many dead letters are kept per group and partition. More cut the oldest.
	// Default 10,000.
	DeadLetters int64
	// Lease is how long a process owns a partition without renewing. The partitions of a dead
	// process pass on within this time and two seconds. If a process cannot renew, its handlers'
	// contexts end after four fifths of it. Default 10 s, at least 1 s.
	Lease time.Duration

	Source string // source of events that are published without one; default "redstart"
	// MaxBytes is how large one event may be, envelope included. Default 256 KiB, at most 256 MiB.
	// All processes of a bus need the same value: consumers use it to bound the server's reads.
	// Store larger data elsewhere, and publish its address.
	MaxBytes int
	// Trace carries traces. Default: the Observer of the client if it is a TraceContext, such as
	// the one of adapters/otel; otherwise none.
	Trace TraceContext
	// Foreign accepts stored JSON objects that are not CloudEvents: {"type":…, "data":…}.
	Foreign bool
}

// Durable is a bus over Redis Streams: every group receives every event at least once (E1). Use
// [NewDurable].
type Durable struct {
	busCommon
	bus   string
	space keys.Space
	opt   DurableOptions
	parts []*partition
	meta  string // key of a hash: partitions, paused groups

	checked atomic.Int64 // time of the client's clock up to which the number of partitions is known

	mu   sync.Mutex
	runs map[*durableRun]struct{} // nil after the bus was closed

	tails   map[int]*tail // by partition, for SSE streams
	closing chan struct{}

	unregister func() // from the client's Close

	janitor *janitor
}

// partition is one stream and the keys next to it.
type partition struct {
	tag                            string
	stream, groups, delayed, later string
	cut                            string       // key of a hash: group to number of missed events
	untrimmed                      atomic.Int64 // events that this process has published since it trimmed
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
	keptUnclaimed  = 24 * time.Hour // retention of events while no group is registered
	maxPartitions  = 1024
	maxGroup       = 128
	maxMaxBytes    = 256 << 20
	minLease       = time.Second
	leaseMargin    = 5 // handlers end a fifth of the lease before it
	defaultMaxSize = 256 << 10
	longHandler    = 5 * time.Minute
)

// NewDurable returns the durable bus with this name. It sends no command. The error names an
// invalid argument or option.
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
		return nil, fmt.Errorf("events: DurableOptions.Partitions is %d: want 1 to %d", opts.Partitions, maxPartitions)
	case opts.Retention < 0 || opts.Retention > 0 && opts.Retention < time.Millisecond:
		return nil, fmt.Errorf("events: DurableOptions.Retention is %v: want 0, or at least 1 ms", opts.Retention)
	case opts.MaxLen < 0:
		return nil, fmt.Errorf("events: DurableOptions.MaxLen is %d: want 0 or more", opts.MaxLen)
	case opts.Dedup != NoDedup && opts.Dedup < time.Millisecond:
		return nil, fmt.Errorf("events: DurableOptions.Dedup is %v: want at least 1 ms, or NoDedup", opts.Dedup)
	case opts.DeadLetters < 1:
		return nil, fmt.Errorf("events: DurableOptions.DeadLetters is %d: want at least 1", opts.DeadLetters)
	case opts.Lease < minLease:
		return nil, fmt.Errorf("events: DurableOptions.Lease is %v: want at least %v", opts.Lease, minLease)
	case opts.MaxBytes < 0 || opts.MaxBytes > maxMaxBytes:
		return nil, fmt.Errorf("events: DurableOptions.MaxBytes is %d: want at most %d", opts.MaxBytes, maxMaxBytes)
	}
	c := clientcore.Of(client)
	space, err := c.Keys("events", name)
	if err != nil {
		return nil, fmt.Errorf("events: NewDurable: %w", err)
	}
	d := &Durable{bus: name, space: space, opt: opts, meta: space.Key("bus"), runs: make(map[*durableRun]struct{}),
		closing: make(chan struct{}), tails: make(map[int]*tail),
		busCommon: busCommon{core: c, name: name, source: orDefault(opts.Source, "redstart"),
			maxBytes: opts.MaxBytes, trace: traceOf(opts.Trace, c.Observer()), foreign: opts.Foreign}}
	d.parts = partitionsOf(space, opts.Partitions)
	d.janitor = newJanitor(d)
	d.life.init()
	d.idleGroups = d.janitor.stillGroups
	d.life.release = d.register("durable")
	d.unregister = c.OnClose(d.close)
	return d, nil
}

func partitionsOf(space keys.Space, n int) (parts []*partition) {
	for i := range n {
		tag := strconv.Itoa(i)
		parts = append(parts, &partition{tag: tag, stream: space.Key(tag), groups: space.Sibling(tag, "groups"),
			delayed: space.Sibling(tag, "delayed"), later: space.Sibling(tag, "later"), cut: space.Sibling(tag, "cut")})
	}
	return parts
}

// Subscriber returns a new subscriber of a group. [Subscriber.Run] receives the events. The error
// names an invalid option.
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

// Stats returns the counters of this process.
func (d *Durable) Stats() BusStats { return d.stats.snapshot() }

func (d *Durable) common() *busCommon { return &d.busCommon }

// check compares the stored number of partitions with the option, once every 30 s.
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
	return fmt.Errorf("%w: bus %q was first used with %s partitions, DurableOptions.Partitions is %d: "+
		"use the stored number, or another bus", ErrPartitions, d.bus, stored, len(d.parts))
}

// trimSoon trims a stream in the background.
func (d *Durable) trimSoon(p *partition) {
	if !p.trimming.CompareAndSwap(false, true) {
		return
	}
	if !d.core.Group().Work("trimming of a stream", func(ctx context.Context) { defer p.trimming.Store(false); d.trim(ctx, p) }) {
		p.trimming.Store(false)
	}
}

// trim is one round trip, or more if it has to read many bodies. After a failure the next trim does
// the work.
func (d *Durable) trim(ctx context.Context, p *partition) {
	p.untrimmed.Store(0)
	chunk := min(maxChunk, max(1, fetchBytes/d.opt.MaxBytes))
	args := []string{millis(d.opt.Retention), strconv.FormatInt(d.opt.MaxLen, 10), millis(keptUnclaimed),
		strconv.Itoa(chunk), strconv.Itoa(replyBytes)}
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
	g := strings.NewReplacer("%", "%25", ":", "%3A").Replace(group) // the group's name must not contain the separator
	at := func(suffix string) string { return d.space.Sibling(p.tag, suffix) }
	return groupKeys{group: at("group:" + g), lease: at("lease:" + g), retry: at("retry:" + g), tries: at("tries:" + g),
		dead: at("dead:" + g), parked: at("parked:" + g + ":"), heads: at("heads:" + g), inbox: at("inbox:" + g + ":")}
}

// scoped returns an event id within its channel: two channels of one partition may use the same id.
func scoped(channel, id string) string { return strconv.Itoa(len(channel)) + ":" + channel + id }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// isPosition reports whether s is a stream id.
func isPosition(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}
