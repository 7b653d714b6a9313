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
	topicsEvery   = time.Minute      // a process says again what it handles
	topicsKept    = 24 * time.Hour   // a version that has left is remembered
	topicsReturn  = 5 * time.Minute  // a version that was not seen for so long is not expected to come back soon
	topicsDiffer  = 15 * time.Minute // how long a rolling deploy may take
	topicVersions = 16               // of one group
	topicBytes    = 16 << 10         // of one version's handlers
	topicRetry    = time.Second      // until what could not be read is asked for again
)

// rule is what one handler is for. The JSON names are stored.
type rule struct {
	Pattern string `json:"p"`
	Type    string `json:"t,omitempty"` // "" is any
}

func (r rule) handles(eventType, channel string) bool {
	return (r.Type == "" || r.Type == eventType) && match(r.Pattern, channel)
}

// topicVersion is the handlers of one version of a group's program.
type topicVersion struct {
	digest      string
	first, last int64 // ms, by the server's clock: when it was seen without a longer absence
	rules       []rule
	all         bool // its rules were too many to store: it may handle anything
}

func (v *topicVersion) handles(eventType, channel string) bool {
	return v.all || slices.ContainsFunc(v.rules, func(r rule) bool { return r.handles(eventType, channel) })
}

// rules are what the subscriber's handlers are for, sorted, each once.
func (s *Subscriber) rules() (all []rule) {
	for _, h := range s.handlers {
		all = append(all, rule{h.pattern, h.eventType})
	}
	slices.SortFunc(all, func(a, b rule) int {
		return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Type, b.Type))
	})
	return slices.Compact(all)
}

// groupTopics knows what the processes of a group handle.
type groupTopics struct {
	run   *durableRun
	key   string
	own   topicVersion
	text  string // of the own rules, "" if they are too many
	every time.Duration

	mu       sync.Mutex
	versions []topicVersion // of the others
	now      int64          // the server's ms, as of read
	read     time.Time
	failed   time.Time
	stamps   map[int]string // by partition: the version stamps that versions is not older than
}

func newGroupTopics(r *durableRun) (*groupTopics, error) {
	t := &groupTopics{run: r, key: r.d.topicsKey(r.sub.name), every: topicsEvery, stamps: make(map[int]string)}
	t.own.rules = r.sub.rules()
	text, err := json.Marshal(t.own.rules)
	if err != nil {
		return nil, fmt.Errorf("the handlers have no JSON form: %w", err)
	}
	sum := sha256.Sum256(text)
	t.own.digest = base64.RawURLEncoding.EncodeToString(sum[:12])
	if len(text) <= topicBytes {
		t.text = string(text)
	}
	return t, nil
}

// seenField is when a process of the group last said what it handles, ms.
const seenField = "seen"

// topicsKey is a hash with what the versions of a group handle.
func (d *Durable) topicsKey(group string) string { return d.space.Sibling("bus", "topics:"+group) }

// refresh says what this process handles and reads what the others do: one round trip.
func (t *groupTopics) refresh(ctx context.Context) error {
	t.mu.Lock()
	err := t.refreshLocked(ctx)
	others := t.others()
	t.mu.Unlock()

	for _, other := range others {
		t.run.d.core.Warn("events: processes of a group handle different topics", t.run.d.bus+"/"+t.run.sub.name, append([]any{"bus", t.run.d.bus, "group", t.run.sub.name}, other...)...)
	}
	return err
}

func (t *groupTopics) refreshLocked(ctx context.Context) error {
	stamps := t.run.stamps() // before the versions are read
	sent := time.Now()
	msg, err := t.run.d.core.Eval(ctx, topicsScript, []string{t.key}, []string{t.own.digest, t.text, millis(topicsKept), millis(topicsReturn), strconv.Itoa(topicVersions)})
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

// stale reports whether the process has to say again what it handles.
func (t *groupTopics) stale() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.read) >= t.every
}

// others are, as attributes of a log line, the versions that handle other topics now.
func (t *groupTopics) others() (all [][]any) {
	for i := range t.versions {
		if v := &t.versions[i]; t.now-v.last < topicsReturn.Milliseconds() {
			all = append(all, []any{"here_alone", lacking(t.own.rules, v), "elsewhere_alone", lacking(v.rules, &t.own)})
		}
	}
	return all
}

// lacking are up to ten of the rules that a version does not have.
func lacking(rules []rule, v *topicVersion) (all []rule) {
	for _, r := range rules {
		if len(all) < 10 && !slices.Contains(v.rules, r) {
			all = append(all, r)
		}
	}
	return all
}

// stamps are the version stamps of the owned partitions, as of their last turns.
func (r *durableRun) stamps() map[int]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[int]string, len(r.consumers))
	for i, c := range r.consumers {
		all[i] = c.stamp
	}
	return all
}

// elsewhere is what another version of a group has to do with an event that no handler of this one matches.
type elsewhere uint8

const (
	handledNowhere elsewhere = iota
	handledSoon              // by a version that runs, or ran a moment ago
	handledOnce              // by a version that is gone, or that has differed for too long
)

// known reads the versions again if a partition has another stamp than when they were read.
func (t *groupTopics) known(ctx context.Context, partition int, stamp string) error {
	t.mu.Lock()
	have, ok := t.stamps[partition]
	lately := time.Since(t.failed) < topicRetry
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

// find looks for a version that handles an event of a partition. A version that registered before the event was read is known here.
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
	now, points := t.now+time.Since(t.read).Milliseconds(), &t.run.d.points
	for i := range t.versions {
		v := &t.versions[i]
		if !v.handles(eventType, channel) {
			continue
		}
		if now-v.last < points.Duration("return", topicsReturn).Milliseconds() && now-max(v.first, t.own.first) < points.Duration("differ", topicsDiffer).Milliseconds() {
			return handledSoon, nil
		}
		found = handledOnce
	}
	return found, nil
}

// unhandled says what becomes of an event that no handler matches. It runs without a lock.
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
		return outcome{result: failed, eventID: d.ID, failure: failure{err: errElsewhere, cause: errElsewhere.Error(), discard: true}}
	}
	return outcome{result: unhandled, eventID: d.ID}
}

// minDefer is the least time until an event is looked at again that another version handles.
const minDefer = 100 * time.Millisecond

// postpone parks a lane whose head is for another version of the group. The attempt does not count.
func (c *partitionConsumer) postpone(q *channelQueue, e *queuedEvent, delay time.Duration) {
	e.attempts--
	if e.parked {
		c.outcomes.rest = append(c.outcomes.rest, triesOp{e.id, e.attempts})
	}
	c.halt(q, delay)
}
