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

// LiveOptions configure a Live bus. All processes of a bus need the same.
type LiveOptions struct {
	Source   string // of events that say nothing else; default "redstart"
	MaxBytes int    // of one event, envelope included; default 1 MiB
	Trace    TraceContext
	// Foreign accepts JSON objects of other programs that are no CloudEvents: {"type":…, "data":…}; without "data" the whole
	// object is the data. They publish to what Live.ServerChannel says.
	Foreign bool
	// ProbeInterval is how often a subscriber sends itself a message over each connection, to see that it still
	// delivers; one that is not back within ProbeTimeout is a lost connection. Default 10 s and 2 s.
	ProbeInterval, ProbeTimeout time.Duration
}

// Live is a bus over Pub/Sub: who is subscribed gets the event, at most once. Use NewLive.
type Live struct {
	busCommon
	space keys.Space
	opt   LiveOptions
	globs [globPartitions]string // the partitions' channels on the server
}

// NewLive returns a live bus. It sends nothing; there is one live bus per namespace, however many Live values.
func NewLive(client *redstart.Client, opts LiveOptions) (*Live, error) {
	switch {
	case client == nil:
		return nil, errors.New("events: NewLive: the client is nil")
	case opts.MaxBytes < 0:
		return nil, fmt.Errorf("events: LiveOptions.MaxBytes is %d: not negative", opts.MaxBytes)
	case opts.ProbeInterval < 0:
		return nil, fmt.Errorf("events: LiveOptions.ProbeInterval is %v: not negative", opts.ProbeInterval)
	case opts.ProbeTimeout < 0:
		return nil, fmt.Errorf("events: LiveOptions.ProbeTimeout is %v: not negative", opts.ProbeTimeout)
	}
	opts.ProbeInterval = orDefault(opts.ProbeInterval, 10*time.Second)
	opts.ProbeTimeout = orDefault(opts.ProbeTimeout, 2*time.Second)
	c := clientcore.Of(client)
	space, err := c.Keys("events", "")
	if err != nil {
		return nil, fmt.Errorf("events: NewLive: %w", err)
	}
	l := &Live{space: space, opt: opts, busCommon: busCommon{core: c, name: "live", source: orDefault(opts.Source, "redstart"),
		maxBytes: orDefault(opts.MaxBytes, 1<<20), trace: opts.Trace, foreign: opts.Foreign}}
	for i := range l.globs {
		l.globs[i] = space.Sibling(strconv.Itoa(i), "globs")
	}
	l.life.init()
	l.life.release = l.register("live")
	return l, nil
}

// Subscriber makes a subscriber. Every subscriber gets every event that its handlers match; the name is for metrics. A
// channel is handled in the order in which its events were published by one process.
func (l *Live) Subscriber(name string, opts SubscriberOptions) (*Subscriber, error) {
	s, err := newSubscriber(&l.busCommon, liveBus, name, opts, l.serve)
	if err != nil {
		return nil, err
	}
	s.live = l
	return s, nil
}

// ServerChannel is what a channel is called on the server, for programs without this library: they SPUBLISH there, or
// PUBLISH where the server has no shard channels. Handlers with a glob do not see what they publish.
func (l *Live) ServerChannel(channel string) string { return l.space.Key(channel) }

// Stats returns what this process has published.
func (l *Live) Stats() BusStats { return l.stats.snapshot() }

func (l *Live) common() *busCommon { return &l.busCommon }

// partitionOf is FNV-1a, 64 bits, and never changes: it decides where stored events are.
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
