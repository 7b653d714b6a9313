package events

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed topics.lua
	topicsSource string

	topicsScript = script.New(topicsSource)
)

const (
	topicsEvery   = time.Minute      // time between two registrations of the handlers of a process
	topicsKept    = 24 * time.Hour   // how long a version without a process is remembered
	topicsReturn  = 5 * time.Minute  // a version that was not seen for this time is gone
	topicsDiffer  = 15 * time.Minute // how long a rolling deploy may take
	topicVersions = 16               // most versions of a group
	topicBytes    = 16 << 10         // most bytes of the handlers of a version
	topicRetry    = time.Second      // time until failed reads are repeated
)

// rule says which events one handler handles. The JSON names are stored on the server.
type rule struct {
	Pattern string `json:"p"`
	Type    string `json:"t,omitempty"` // "" matches every type
}

func (r rule) handles(eventType, channel string) bool {
	return (r.Type == "" || r.Type == eventType) && match(r.Pattern, channel)
}

// topicVersion has the handlers of one version of a group's program.
type topicVersion struct {
	digest      string
	first, last int64 // begin and end of its presence, ms, by the server's clock
	rules       []rule
	all         bool // its rules are too large to store: it may handle every event
}

func (v *topicVersion) handles(eventType, channel string) bool {
	return v.all || slices.ContainsFunc(v.rules, func(r rule) bool { return r.handles(eventType, channel) })
}

// rules returns the rules of the subscriber's handlers, sorted and without duplicates.
func (s *Subscriber) rules() (all []rule) {
	for _, h := range s.handlers {
		all = append(all, rule{h.pattern, h.eventType})
	}
	slices.SortFunc(all, func(a, b rule) int {
		return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Type, b.Type))
	})
	return slices.Compact(all)
}

// groupTopics knows which events the processes of a group handle.
type groupTopics struct {
	run   *durableRun
	key   string
	own   topicVersion
	text  string // the own rules as JSON; "" if they are too large
	every time.Duration

	mu       sync.Mutex
	versions []topicVersion // the versions of the other processes
	now      int64          // the server's time at read, ms
	read     time.Time      // when versions was read
	failed   time.Time      // when the last read failed
	stamps   map[int]string // by partition: versions is at least as new as this stamp
}

func newGroupTopics(r *durableRun) (*groupTopics, error) {
	t := &groupTopics{run: r, key: r.d.topicsKey(r.sub.name), every: topicsEvery, stamps: make(map[int]string)}
	t.own.rules = r.sub.rules()
	text, err := json.Marshal(t.own.rules)
	if err != nil {
		return nil, fmt.Errorf("encode the handlers as JSON: %w", err)
	}
	sum := sha256.Sum256(text)
	t.own.digest = base64.RawURLEncoding.EncodeToString(sum[:12])
	if len(text) <= topicBytes {
		t.text = string(text)
	}
	return t, nil
}

// seenField has the time of the last registration of any process of the group, ms.
const seenField = "seen"

// topicsKey returns the key of a hash with the versions of a group.
func (d *Durable) topicsKey(group string) string { return d.space.Sibling("bus", "topics:"+group) }

// refresh registers the handlers of this process and reads the other versions, in one round trip.
func (t *groupTopics) refresh(ctx context.Context) error {
	t.mu.Lock()
	err := t.refreshLocked(ctx)
	others := t.others()
	t.mu.Unlock()

	for _, other := range others {
		bus, group := t.run.d.bus, t.run.sub.name
		t.run.d.core.Warn("events: processes of a group handle different topics", bus+"/"+group,
			append([]any{"bus", bus, "group", group}, other...)...)
	}
	return err
}

func (t *groupTopics) refreshLocked(ctx context.Context) error {
	stamps := t.run.stamps() // before the versions are read
	sent := t.run.d.core.Time().Now()
	args := []string{t.own.digest, t.text, millis(topicsKept), millis(topicsReturn), strconv.Itoa(topicVersions)}
	msg, err := t.run.d.core.Eval(ctx, topicsScript, []string{t.key}, args)
	if err != nil {
		t.failed = sent
		return err
	}
	d := decode(msg, "a group's topics", 2)
	now, parts := d.number("the time"), d.texts("versions")
	if d.err == nil && len(parts)%4 != 0 {
		d.err = unexpected("a group's topics", fmt.Errorf("%d parts", len(parts)))
	}
	if d.err != nil {
		t.failed = sent
		return d.err
	}
	t.now, t.read, t.stamps, t.versions = now, sent, stamps, nil
	for ; len(parts) > 0; parts = parts[4:] {
		v := topicVersion{digest: parts[0]}
		v.first, _ = strconv.ParseInt(parts[1], 10, 64)
		v.last, _ = strconv.ParseInt(parts[2], 10, 64)
		if v.digest == t.own.digest {
			t.own.first = v.first
			continue
		}
		v.all = json.Unmarshal([]byte(parts[3]), &v.rules) != nil
		t.versions = append(t.versions, v)
	}
	return nil
}

// stale reports whether the next registration of the handlers is due.
func (t *groupTopics) stale() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.run.d.core.Time().Since(t.read) >= t.every
}

// others returns attributes of a log message for each present version with other handlers.
func (t *groupTopics) others() (all [][]any) {
	for i := range t.versions {
		if v := &t.versions[i]; t.now-v.last < topicsReturn.Milliseconds() {
			all = append(all, []any{"only_here", missing(t.own.rules, v), "only_elsewhere", missing(v.rules, &t.own)})
		}
	}
	return all
}

// missing returns up to ten of the rules that a version does not have.
func missing(rules []rule, v *topicVersion) (all []rule) {
	for _, r := range rules {
		if len(all) < 10 && !slices.Contains(v.rules, r) {
			all = append(all, r)
		}
	}
	return all
}

// stamps returns the version stamps of the owned partitions, as of their last polls.
func (r *durableRun) stamps() map[int]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[int]string, len(r.consumers))
	for i, c := range r.consumers {
		all[i] = c.stamp
	}
	return all
}

// elsewhere says whether another version of the group handles an event that no handler of this
// process matches.
type elsewhere uint8

const (
	handledNowhere elsewhere = iota
	handledSoon              // a version handles it that runs or ran a moment ago
	handledOnce              // a version handled it that is gone, or that has differed for too long
)

// known reads the versions again if the stamp of a partition has changed since the last read.
func (t *groupTopics) known(ctx context.Context, partition int, stamp string) error {
	t.mu.Lock()
	have, ok := t.stamps[partition]
	lately := t.run.d.core.Time().Since(t.failed) < topicRetry
	t.mu.Unlock()

	switch {
	case ok && have == stamp:
		return nil
	case lately:
		return errTopicsUnknown
	}
	if err := t.refresh(ctx); err != nil {
		return fmt.Errorf("%w: %w", errTopicsUnknown, err)
	}
	return nil
}

// find searches for a version that handles an event of a partition. It knows every version that was
// registered before the event was read.
func (t *groupTopics) find(ctx context.Context, c *partitionConsumer, eventType, channel string) (elsewhere, error) {
	t.run.mu.Lock()
	stamp := c.stamp
	t.run.mu.Unlock()

	if err := t.known(ctx, c.index, stamp); err != nil {
		return handledSoon, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	found := handledNowhere
	now, points := t.now+t.run.d.core.Time().Since(t.read).Milliseconds(), &t.run.d.points
	for i := range t.versions {
		v := &t.versions[i]
		if !v.handles(eventType, channel) {
			continue
		}
		present := now-v.last < points.Duration("return", topicsReturn).Milliseconds()
		deploying := now-max(v.first, t.own.first) < points.Duration("differ", topicsDiffer).Milliseconds()
		if present && deploying {
			return handledSoon, nil
		}
		found = handledOnce
	}
	return found, nil
}

// unhandled returns the outcome of an event that no handler matches. It runs without a lock.
func (c *partitionConsumer) unhandled(d *delivery) (o outcome) {
	delay := max(c.d.opt.Lease/2, minDefer)
	found, err := c.run.topics.find(c.ctx, c, d.Type, d.Subject)
	switch {
	case err != nil:
		c.run.logFailure("events: an event waits until the topics of the group's other processes are known", c.index, err)
		return outcome{result: deferred, eventID: d.ID, failure: failure{delay: topicRetry}}
	case found == handledSoon:
		return outcome{result: deferred, eventID: d.ID, failure: failure{delay: delay}}
	case found == handledOnce:
		return outcome{result: failed, eventID: d.ID,
			failure: failure{err: errElsewhere, cause: errElsewhere.Error(), discard: true}}
	}
	return outcome{result: unhandled, eventID: d.ID}
}

// minDefer is the least time until an event is tried again that another version handles.
const minDefer = 100 * time.Millisecond

// postpone parks a channel queue whose first event is for another version of the group. The attempt
// does not count.
func (c *partitionConsumer) postpone(q *channelQueue, e *queuedEvent, delay time.Duration) {
	e.attempts--
	if e.parked {
		c.outcomes.rest = append(c.outcomes.rest, triesOp{e.id, e.attempts})
	}
	c.halt(q, delay)
}
