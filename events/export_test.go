package events

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/eventview"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/script"
)

// This file exports parts of the package for its external tests.

// EnvelopeText returns the stored form of an event.
func EnvelopeText(id, eventType, channel, data string) string {
	return string(appendEnvelope(nil, &envelope{ID: id, Source: "test", Type: eventType, Subject: channel,
		Time: time.Unix(1, 0), Data: []byte(data)}))
}

// StreamOf returns the key of the stream with the events of a channel.
func (d *Durable) StreamOf(channel string) string {
	return d.parts[partitionOf(channel, len(d.parts))].stream
}

// MarkOf returns the key of the mark of an id.
func (d *Durable) MarkOf(channel, id string) string {
	return d.space.Sibling(d.partition(channel).tag, "id:"+scoped(channel, id))
}

// LeaseOf returns the key of a group's lease on the partition of a channel.
func (d *Durable) LeaseOf(group, channel string) string {
	return d.groupKeys(d.parts[partitionOf(channel, len(d.parts))], group).lease
}

// DeadOf returns the key of a group's dead letters of a channel.
func (d *Durable) DeadOf(group, channel string) string {
	return d.groupKeys(d.parts[partitionOf(channel, len(d.parts))], group).dead
}

// DropAllAround drops all dead letters of a view. It calls fn before each command that drops some.
func DropAllAround(ctx context.Context, bus eventview.Bus, group string, fn func(key string, ids []string)) (int, error) {
	q := bus.(view).d.DeadLetters(group)
	return q.all(ctx, "drop", 10, func(k groupKeys, ids []string) (core.Reply, error) {
		fn(k.dead, ids)
		return q.d.core.Do(ctx, core.Write("XDEL", k.dead, ids...))
	})
}

// PartitionOf returns the partition of a channel.
func (d *Durable) PartitionOf(channel string) int { return partitionOf(channel, len(d.parts)) }

// EnterEnded ends the bus, as Close of the bus or of the client does. It returns the error of a Run
// that was called before and registers now.
func (d *Durable) EnterEnded(byBus bool) error {
	if byBus {
		d.life.close()
	}
	d.stop()
	return d.enter(nil)
}

// Match reports whether a channel matches a pattern.
func Match(pattern, channel string) bool { return match(pattern, channel) }

// Trim trims the stream of a channel now.
func (d *Durable) Trim(ctx context.Context, channel string) error {
	d.trim(ctx, d.parts[partitionOf(channel, len(d.parts))])
	return nil
}

// Points returns the failpoints of a bus. A durable bus has these points:
//
//	arming   after a read that found nothing, before the tracked read
//	armed    after the tracked read
//	granted  a lease was granted; an error loses the answer
//	polling  before a poll is sent; the key is the partition
//	polled   after the reply to a poll; an error loses the reply
//	pass     time between two passes of the janitor
//	long     how long a handler may run before it is logged
//	differ   how long an event waits for another version of a group while both run
//	return   how long an event waits for another version after it was last seen
//	change   shows a consumer and the two states of a change, under the lock of the run
//	step     shows a consumer after each step, under the lock of the run
//	tail     before a read of the log for SSE streams; the key is the direction, "up" or "down"
//
// A live bus has one point:
//
//	probe    a probe has returned; an error loses it, as a connection does that delivers nothing
func (b *busCommon) Points() *failpoint.Points { return &b.points }

// ParseText reads an envelope and its data.
func ParseText(text string, foreign bool) (e Event[json.RawMessage], err error) {
	var d delivery
	if err = d.parse(text, foreign); err != nil {
		return e, err
	}
	return d.event()
}

// ParseSlowly is ParseText without parseQuick.
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

// Sources returns the scripts as the server receives them, with the clock of a test. The scripts
// read the time, and the ids of new entries, from three fields of the hash clockKey.
func Sources(clockKey string) map[string]string {
	all := map[string]string{
		"publish": delayedSource + publishSource, "poll": bodiesSource + delayedSource + pollSource,
		"due": delayedSource + dueSource, "cancel": cancelSource, "parked": parkedSource, "acquire": acquireSource,
		"recover": bodiesSource + recoverSource, "trim": trimSource, "register": registerSource, "topics": topicsSource,
		"group": groupSource, "pause": pauseSource, "redrive": redriveSource, "drop": dropSource, "member": memberSource,
	}
	for name, source := range all {
		source = strings.ReplaceAll(source, "redis.call('TIME')", "redis.call('HMGET', '"+clockKey+"', 's', 'us')")
		all[name] = strings.ReplaceAll(source, "'*'", "redis.call('HGET', '"+clockKey+"', 'ms') .. '-*'")
	}
	return all
}

// GlobPartitions returns the n glob partitions of a pattern, from first on, and the glob partition
// at of a channel.
func GlobPartitions(pattern, channel string) (first, n, at int) {
	first, n = globPartitionsOf(pattern)
	return first, n, globPartition(channel)
}

// Before reports whether position a is before position b.
func Before(a, b string) bool { return before(a, b) }

// TopicsOf returns how many versions of a group the server knows, and their bytes.
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

// StealLease deletes the lease of a channel's partition, as if the process of the owner were dead.
func (d *Durable) StealLease(ctx context.Context, group, channel string) error {
	_, err := d.core.Do(ctx, core.Write("DEL", d.LeaseOf(group, channel)))
	return err
}

// RegisterAlone registers groups in one partition, as an older release or a lost call can do.
func (d *Durable) RegisterAlone(ctx context.Context, group string, partition int, more ...string) error {
	if group != "" {
		more = append(more, group)
	}
	_, err := d.core.Do(ctx, core.Write("SADD", d.parts[partition].groups, more...))
	return err
}

// Len returns the number of entries in the stream of a channel.
func (d *Durable) Len(ctx context.Context, channel string) (int, error) {
	msg, err := d.core.Do(ctx, core.Read("XLEN", d.StreamOf(channel)))
	if err != nil {
		return 0, err
	}
	n, err := msg.AsInt64()
	return int(n), err
}

// HeldBytes returns the bytes of bodies that the subscribers of the bus hold, in the partition with
// the most bytes.
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

// TailBytes returns the bytes of events that the SSE streams of a channel's partition hold
// together. All events in memory are rendered.
func (d *Durable) TailBytes(channel string) (n int) {
	d.mu.Lock()
	t := d.tails[partitionOf(channel, len(d.parts))]
	d.mu.Unlock()

	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.entries {
		if e := &t.entries[i]; e.body != nil {
			n += len(e.body.render(e.id, d.foreign)) + len(e.body.raw)
		}
	}
	return n
}
