package events

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/script"
)

// For tests of the package from outside.

func EnvelopeText(id, eventType, channel, data string) string {
	return string(appendEnvelope(nil, &envelope{ID: id, Source: "test", Type: eventType, Subject: channel, Time: time.Unix(1, 0), Data: []byte(data)}))
}

// StreamOf is the key of the stream that has a channel's events.
func (d *Durable) StreamOf(channel string) string {
	return d.parts[partitionOf(channel, len(d.parts))].stream
}

// MarkOf is the key of the mark of an id of a channel.
func (d *Durable) MarkOf(channel, id string) string {
	return d.space.Sibling(d.partition(channel).tag, "id:"+scoped(channel, id))
}

// LeaseOf is the key of a group's lease on the partition of a channel.
func (d *Durable) LeaseOf(group, channel string) string {
	return d.groupKeys(d.parts[partitionOf(channel, len(d.parts))], group).lease
}

// PartitionOf is the partition of a channel.
func (d *Durable) PartitionOf(channel string) int { return partitionOf(channel, len(d.parts)) }

func Match(pattern, channel string) bool { return match(pattern, channel) }

// Trim trims the stream of a channel now.
func (d *Durable) Trim(ctx context.Context, channel string) error {
	d.trim(ctx, d.parts[partitionOf(channel, len(d.parts))])
	return nil
}

// Points of a durable bus:
//
//	arming   between the read that found nothing and the one that has the server push
//	armed    after that
//	granted  a lease has been granted; an error loses the answer
//	polling  before a poll is sent; the key is the partition
//	pass     how long the janitor waits between two passes
//	long     how long a handler may run before it is logged
//	differ   how long events are left to another version of a group while both run
//	return   the same, after the other version was last seen
//	change   shows a session and the two states of a change, under the run's lock
//	step     shows a session after each step, under the run's lock
//	tail     reading the log for SSE streams; the key is the direction, "up" or "down"
//
// and of a live one:
//
//	probe    an error loses a probe that came back, as over a connection that delivers nothing
func (b *busCommon) Points() *failpoint.Points { return &b.points }

// ParseText reads an envelope and its data.
func ParseText(text string, foreign bool) (e Event[json.RawMessage], err error) {
	var d delivery
	if err = d.parse(text, foreign); err != nil {
		return e, err
	}
	return d.event()
}

// ParseSlowly is ParseText without the quick reader.
func ParseSlowly(text string, foreign bool) (e Event[json.RawMessage], err error) {
	var d delivery
	if d.envelope, err = parseAny(text, foreign); err != nil {
		return e, err
	}
	return d.event()
}

func (d *delivery) event() (e Event[json.RawMessage], err error) {
	err = d.decode(&e.Data)
	e.ID, e.Type, e.Source, e.Channel, e.Time = d.ID, d.Type, d.Source, d.Subject, d.Time
	return e, err
}

// Sources are the scripts as the server gets them, but with a clock of the test's, which they read from three fields of a hash
// at this key: also the ids of what they add come from it.
func Sources(clockKey string) map[string]string {
	all := map[string]string{
		"publish": delayedSource + publishSource, "poll": bodiesSource + delayedSource + pollSource, "due": delayedSource + dueSource, "cancel": cancelSource,
		"parked": parkedSource, "acquire": acquireSource, "recover": bodiesSource + recoverSource, "trim": trimSource,
		"register": registerSource, "topics": topicsSource, "group": groupSource, "pause": pauseSource, "redrive": redriveSource, "drop": dropSource, "member": memberSource,
	}
	for name, source := range all {
		source = strings.ReplaceAll(source, "redis.call('TIME')", "redis.call('HMGET', '"+clockKey+"', 's', 'us')")
		all[name] = strings.ReplaceAll(source, "'*'", "redis.call('HGET', '"+clockKey+"', 'ms') .. '-*'")
	}
	return all
}

// GlobPartitions are where a pattern is subscribed, and where a channel is published.
func GlobPartitions(pattern, channel string) (first, n, at int) {
	first, n = globPartitionsOf(pattern)
	return first, n, globPartition(channel)
}

// Before compares positions.
func Before(a, b string) bool { return before(a, b) }

// TopicsOf is how many versions of a group the server knows, and how many bytes they have.
func (d *Durable) TopicsOf(ctx context.Context, group string) (versions, bytes int, err error) {
	msg, err := d.core.Eval(ctx, script.New("return redis.call('HGETALL', KEYS[1])"), []string{d.topicsKey(group)}, nil)
	if err != nil {
		return 0, 0, err
	}
	all, err := msg.AsStrSlice()
	for _, s := range all {
		bytes += len(s)
	}
	return max(len(all)/2-1, 0), bytes, err
}

// StealLease takes the lease of a channel's partition from its owner, as if its process were dead.
func (d *Durable) StealLease(ctx context.Context, group, channel string) error {
	_, err := d.core.Do(ctx, core.Write("DEL", d.LeaseOf(group, channel)))
	return err
}

// RegisterAlone makes groups known in one partition, as an older release or a lost call may have done.
func (d *Durable) RegisterAlone(ctx context.Context, group string, partition int, more ...string) error {
	if group != "" {
		more = append(more, group)
	}
	_, err := d.core.Do(ctx, core.Write("SADD", d.parts[partition].groups, more...))
	return err
}

// Len is how many events the stream of a channel has.
func (d *Durable) Len(ctx context.Context, channel string) (int, error) {
	msg, err := d.core.Do(ctx, core.Read("XLEN", d.StreamOf(channel)))
	if err != nil {
		return 0, err
	}
	n, err := msg.AsInt64()
	return int(n), err
}

// HeldBytes is how many bytes of bodies the bus' subscribers hold in the partition that holds the most.
func (d *Durable) HeldBytes() (most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.runs {
		r.mu.Lock()
		for _, c := range r.consumers {
			most = max(most, c.bytes)
		}
		r.mu.Unlock()
	}
	return most
}
