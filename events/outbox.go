package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// OutboxOptions configure an Outbox. The zero value is a good default.
type OutboxOptions struct {
	// Table was created with the statements of OutboxSchema, which says what a name may be. Default "outbox".
	Table string
	// Batch is how many rows are read and published at once. Default 1000, at most 10,000.
	Batch int
	// Poll is how often Run looks while there is nothing. Default 200 ms. With PGX the database notifies it.
	Poll time.Duration
	// Lease is how long a relay that died holds up the next one. Default 10 s, at least 1 s.
	Lease time.Duration
	// MaxAttempts is how often a row that the bus refuses (data that is no JSON, an empty channel, an event above MaxBytes,
	// an id with other content) is tried before it is set aside. Default 3. Errors of the server or the database do not count.
	MaxAttempts int
	// Groups are the consumer groups that must be registered with the bus before Run publishes. Without any, Run waits until one
	// group is registered: what a bus gets before its first group is handled by none that begins with FromNow.
	Groups []string
	// WithoutGroups has Run publish although no group is registered, such as for SSE streams alone.
	WithoutGroups bool
	// OnError gets every row that the bus has refused, with the cause, after it was counted or set aside. Its panic is contained.
	OnError func(ctx context.Context, row OutboxRow, err error)
}

// Outbox publishes the rows that transactions have left in a table: an event is published if and only if its transaction was
// committed, at least once, and once within the bus' Dedup, since its ID comes from the row.
//
// Rows of one channel are published in the order of their numbers as far as they are committed when they are read, and deleted when
// they are stored in the bus. A transaction that commits late, with a number below those that are published already, is
// published after them: put what must be in order into transactions that wait for each other, as those on one row do.
//
// A row that the bus refuses is set aside with its cause after MaxAttempts. Until then the later rows of its channel wait; rows
// of other channels continue. ListSetAside, Redrive and Drop work on rows that were set aside.
//
// Any number of processes may Run an outbox of one table: a lease in the database lets one of them work at a time.
type Outbox struct {
	db    OutboxDB
	bus   *Durable
	opt   OutboxOptions
	names outboxNames
	owner string
	query string // reads a batch
	lease string // takes or renews the lease

	relaying  sync.Mutex // one Relay at a time
	undeleted []int64    // rows that are published and still in the table
}

const minOutboxLease = time.Second

// NewOutbox returns the outbox of a table. It sends nothing.
func NewOutbox(db OutboxDB, bus *Durable, opts OutboxOptions) (*Outbox, error) {
	opts.Batch = orDefault(opts.Batch, 1000)
	opts.Poll = orDefault(opts.Poll, 200*time.Millisecond)
	opts.Lease = orDefault(opts.Lease, 10*time.Second)
	opts.MaxAttempts = orDefault(opts.MaxAttempts, 3)
	switch {
	case db.exec == nil:
		return nil, errors.New("events: NewOutbox: the database is nil: use events.SQL or events.PGX")
	case !db.dialect.known():
		return nil, fmt.Errorf("events: NewOutbox: the database's dialect is %d: SQLite, PostgreSQL or MySQL", db.dialect)
	case bus == nil:
		return nil, errors.New("events: NewOutbox: the bus is nil")
	case bus.opt.Dedup == NoDedup:
		return nil, errors.New("events: NewOutbox: the bus remembers no ids (DurableOptions.Dedup is NoDedup): rows would be published twice after a crash")
	case opts.Batch < 1 || opts.Batch > 10_000:
		return nil, fmt.Errorf("events: OutboxOptions.Batch is %d: 1 to 10,000", opts.Batch)
	case opts.Poll < 0:
		return nil, fmt.Errorf("events: OutboxOptions.Poll is %v: not negative", opts.Poll)
	case opts.Lease < minOutboxLease:
		return nil, fmt.Errorf("events: OutboxOptions.Lease is %v: at least %v", opts.Lease, minOutboxLease)
	case opts.MaxAttempts < 1:
		return nil, fmt.Errorf("events: OutboxOptions.MaxAttempts is %d: at least 1", opts.MaxAttempts)
	}
	for _, group := range opts.Groups {
		if err := checkGroup(group); err != nil {
			return nil, fmt.Errorf("events: OutboxOptions.Groups: %w", err)
		}
	}
	d := db.dialect
	names, err := d.outbox(opts.Table)
	if err != nil {
		return nil, fmt.Errorf("events: OutboxOptions.Table: %w", err)
	}
	return &Outbox{db: db, bus: bus, opt: opts, names: names, owner: newID(time.Now()),
		query: fmt.Sprintf("SELECT %s FROM %s WHERE set_aside_ms IS NULL ORDER BY id LIMIT %d", outboxColumns, names.rows, opts.Batch),
		lease: fmt.Sprintf("UPDATE %s SET owner = %s, until_ms = %s + %d WHERE id = 1 AND (owner = %s OR until_ms < %s)",
			names.relay, d.placeholder(1), d.now(), opts.Lease.Milliseconds(), d.placeholder(2), d.now())}, nil
}

// Run relays until ctx ends or the bus closes, and returns nil then. While another process has the lease it waits. Errors of the database or the
// server are logged and tried again.
func (o *Outbox) Run(ctx context.Context) error {
	if err := o.bus.life.enter("outbox"); err != nil {
		return fmt.Errorf("events: outbox %s: run: %w", o.names.text, err)
	}
	defer o.bus.life.leave("outbox")
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(o.bus.life.ctx, cancel)()
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()

	wake := make(chan struct{}, 1)
	if o.db.listen != nil {
		listening.Go(func() { o.listen(ctx, wake) })
	}
	defer o.release()

	timer := time.NewTimer(0)
	defer timer.Stop()
	r := outboxRun{outbox: o}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.bus.closing:
			return nil
		case <-wake:
		case <-timer.C:
		}
		timer.Reset(r.step(ctx))
	}
}

// outboxRun is what one Run knows.
type outboxRun struct {
	outbox *Outbox
	until  time.Time // this process has the lease until then
	ready  bool      // the groups are registered
	warnAt time.Time // when it is logged next that a group is missing
	retry  time.Duration
}

// step does what is due, and returns when to look again.
func (r *outboxRun) step(ctx context.Context) time.Duration {
	o := r.outbox
	more, err := r.work(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		o.bus.core.Logger().Warn("events: an outbox was not relayed; it is tried again", "table", o.names.text, "error", err)
		r.retry = min(2*max(r.retry, retryFirst), 5*time.Second)
		return r.retry
	case more:
		r.retry = 0
		return 0
	}
	r.retry = 0
	return min(o.opt.Poll, o.opt.Lease/3) // the lease is to be renewed, or asked for again
}

// groupGrace is how long a group may be missing before a warning: its subscriber starts next to the outbox.
const groupGrace = 5 * time.Second

func (r *outboxRun) work(ctx context.Context) (more bool, err error) {
	o := r.outbox
	if now := time.Now(); now.Add(o.opt.Lease * 2 / 3).After(r.until) {
		affected, err := o.db.exec(ctx, o.lease, o.owner, o.owner)
		if err != nil {
			return false, fmt.Errorf("events: outbox %s: take the lease: %w: create the tables with events.OutboxSchema", o.names.text, err)
		}
		if affected == 0 {
			return false, nil // another relay has it
		}
		r.until = now.Add(o.opt.Lease)
	}
	if !r.ready {
		missing, err := o.missingGroups(ctx)
		if err != nil {
			return false, err
		}
		if missing != "" {
			now := time.Now()
			if r.warnAt.IsZero() {
				r.warnAt = now.Add(groupGrace)
			}
			if !now.Before(r.warnAt) {
				r.warnAt = now.Add(30 * time.Second)
				o.bus.core.Logger().Warn("events: the outbox waits for a group; its rows stay in the table", "table", o.names.text, "bus", o.bus.bus, "missing", missing)
			}
			return false, nil
		}
		r.ready = true
	}
	n, err := o.Relay(ctx)
	return n > 0, err
}

// missingGroups names the groups that are not registered with every partition.
func (o *Outbox) missingGroups(ctx context.Context) (string, error) {
	if o.opt.WithoutGroups {
		return "", nil
	}
	registered, err := o.bus.registered(ctx)
	if err != nil {
		return "", fmt.Errorf("events: outbox %s: look for groups: %w", o.names.text, err)
	}
	if len(o.opt.Groups) == 0 && len(registered) == 0 {
		return "any group", nil
	}
	var missing []string
	for _, group := range o.opt.Groups {
		if !registered[group] {
			missing = append(missing, group)
		}
	}
	return strings.Join(missing, ", "), nil
}

// registered returns the groups that are registered with every partition: one round trip per node.
func (d *Durable) registered(ctx context.Context) (map[string]bool, error) {
	count := make(map[string]int)
	cmds := make([]core.Command, len(d.parts))
	for i, p := range d.parts {
		cmds[i] = core.Read("SMEMBERS", p.groups)
	}
	for _, r := range d.core.DoMulti(ctx, cmds...) {
		msg, err := r.Get()
		if err != nil {
			return nil, err
		}
		names, err := msg.AsStrSlice()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			count[name]++
		}
	}
	all := make(map[string]bool)
	for name, n := range count {
		if n == len(d.parts) {
			all[name] = true
		}
	}
	return all, nil
}

// listen wakes Run when the database notifies it.
func (o *Outbox) listen(ctx context.Context, wake chan struct{}) {
	for ctx.Err() == nil {
		err := o.db.listen(ctx, o.names.channel, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		if ctx.Err() == nil {
			o.bus.core.Logger().Debug("events: an outbox is not notified; it polls", "table", o.names.text, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// release gives the lease to the next relay.
func (o *Outbox) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := o.db.exec(ctx, fmt.Sprintf("UPDATE %s SET until_ms = 0 WHERE id = 1 AND owner = %s", o.names.relay, o.db.dialect.placeholder(1)), o.owner)
	if err != nil {
		o.bus.core.Logger().Debug("events: the lease of an outbox was not given back; it lapses", "table", o.names.text, "error", err)
	}
}
