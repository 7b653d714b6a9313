package events

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/keys"
)

// LiveOptions configure a Live bus. All processes of a bus need the same options. The zero value is
// a good default.
type LiveOptions struct {
	Source   string // source of events without the option Source; default "redstart"
	MaxBytes int    // largest event, with its envelope; default 1 MiB
	// Trace carries traces. Default: the Observer of the client if it is a TraceContext, such as
	// the one of adapters/otel; otherwise none.
	Trace TraceContext
	// Foreign accepts JSON objects of other programs that are not CloudEvents, such as
	// {"type":…, "data":…}. Without "data", the whole object is the data. Other programs publish to
	// the channel that Live.ServerChannel returns.
	Foreign bool
	// ProbeInterval is how often a subscriber sends itself a message over each connection, to check
	// that the connection delivers. Default 10 s.
	ProbeInterval time.Duration
	// ProbeTimeout is how long such a message may take. Then the connection counts as lost. Default
	// 2 s.
	ProbeTimeout time.Duration
}

// Live is a bus over Pub/Sub. Each subscriber that runs receives an event at most once. Use
// [NewLive].
type Live struct {
	busCommon
	space keys.Space
	opt   LiveOptions
	globs [globPartitions]string // the channels of the glob partitions on the server
}

// NewLive returns the live bus of the client's namespace. It sends nothing. The bus has no name:
// all Live values of a namespace are the same bus, and channels separate its users.
func NewLive(client *redstart.Client, opts LiveOptions) (*Live, error) {
	switch {
	case client == nil:
		return nil, errors.New("events: NewLive: the client is nil: open one with redstart.Open")
	case opts.MaxBytes < 0:
		return nil, fmt.Errorf("events: LiveOptions.MaxBytes is %d: want 0 (default) or a positive number",
			opts.MaxBytes)
	case opts.ProbeInterval < 0:
		return nil, fmt.Errorf("events: LiveOptions.ProbeInterval is %v: want 0 (default) or a positive duration",
			opts.ProbeInterval)
	case opts.ProbeTimeout < 0:
		return nil, fmt.Errorf("events: LiveOptions.ProbeTimeout is %v: want 0 (default) or a positive duration",
			opts.ProbeTimeout)
	}
	opts.ProbeInterval = orDefault(opts.ProbeInterval, 10*time.Second)
	opts.ProbeTimeout = orDefault(opts.ProbeTimeout, 2*time.Second)
	c := clientcore.Of(client)
	space, err := c.Keys("events", "")
	if err != nil {
		return nil, fmt.Errorf("events: NewLive: %w", err)
	}
	l := &Live{space: space, opt: opts, busCommon: busCommon{core: c, name: "live",
		source:   orDefault(opts.Source, "redstart"),
		maxBytes: orDefault(opts.MaxBytes, 1<<20), trace: traceOf(opts.Trace, c.Observer()), foreign: opts.Foreign}}
	for i := range l.globs {
		l.globs[i] = space.Sibling(strconv.Itoa(i), "globs")
	}
	l.life.init()
	l.life.release = l.register("live")
	return l, nil
}

// Subscriber returns a new subscriber. Every subscriber receives all events that its handlers
// match. The name is for logs and metrics. The events that one process publishes to a channel are
// handled in the order of their publication. An option that is for durable buses only is an error.
func (l *Live) Subscriber(name string, opts SubscriberOptions) (*Subscriber, error) {
	s, err := newSubscriber(&l.busCommon, liveBus, name, opts, l.serve)
	if err != nil {
		return nil, err
	}
	s.live = l
	return s, nil
}

// ServerChannel returns the name of a channel on the server, for programs without this library.
// They use SPUBLISH, or PUBLISH if the server has no shard channels. Handlers with a glob pattern
// do not receive their events.
func (l *Live) ServerChannel(channel string) string { return l.space.Key(channel) }

// Stats returns the counters of the bus in this process.
func (l *Live) Stats() BusStats { return l.stats.snapshot() }

func (l *Live) common() *busCommon { return &l.busCommon }

// partitionOf returns the partition of a channel, by the 64-bit FNV-1a hash. The function never
// changes, because it decides in which stream an event is stored.
func partitionOf(channel string, n int) int {
	h := uint64(14695981039346656037)
	for i := range len(channel) {
		h = (h ^ uint64(channel[i])) * 1099511628211
	}
	return int((h ^ h>>32) % uint64(n))
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
