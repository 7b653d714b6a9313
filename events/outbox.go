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

// OutboxOptions configure an [Outbox]. The zero value is a good default.
type OutboxOptions struct {
	// Table is the name of the table. [OutboxSchema] creates it and defines valid names. Default
	// "outbox".
	Table string
	// Batch is how many rows are read and published at once. Default 1000, at most 10,000.
	Batch int
	// Poll is the time between reads of an empty table. With [PGX], the database also notifies Run.
	// Default 200 ms.
	Poll time.Duration
	// Lease is how long a dead relay delays the next one. Default 10 s, at least 1 s.
	Lease time.Duration
	// MaxAttempts is how often a refused row is tried before it is set aside. The bus refuses data
	// that is not JSON, an empty channel, an event above MaxBytes, and an id with other content.
	// Errors of the server or the database do not count. Default 3.
	MaxAttempts int
	// Groups are the consumer groups that must be registered before Run publishes. Without Groups,
	// Run waits until any group is registered. The reason is that a group that starts with FromNow
	// does not handle earlier events.
	Groups []string
	// WithoutGroups lets Run publish without a registered group, for example for SSE streams.
	WithoutGroups bool
	// OnError receives every refused row with the cause, after the attempt was counted. Its panic
	// is contained.
	OnError func(ctx context.Context, row OutboxRow, err error)
}

// Outbox publishes the rows that transactions have inserted into a table. An event is published if
// and only if its transaction was committed. It is published at least once. It is stored once
// within the Dedup of the bus, because its ID comes from the row.
//
// The committed rows of a channel are published in the order of their numbers. A row is deleted
// after it is stored in the bus. A transaction can commit late, with a lower number than published
// rows. Its row is published later. If the order matters, insert the rows in transactions that wait
// for each other, such as transactions that lock the same row.
//
// A row that the bus refuses is set aside with its cause after MaxAttempts. Until then, the later
// rows of its channel wait. Other channels continue. [Outbox.ListSetAside], [Outbox.Redrive] and
// [Outbox.Drop] work on these rows.
//
// Any number of processes may Run the outbox of a table. A lease in the database lets one of them
// work at a time.
type Outbox struct {
	db    OutboxDB
	bus   *Durable
	opt   OutboxOptions
	names outboxNames
	owner string
	query string // reads a batch
	lease string // takes or renews the lease

	relaying  sync.Mutex // held during Relay
	undeleted []int64    // published rows that are still in the table
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
		return nil, fmt.Errorf("events: NewOutbox: the dialect of the database is %d: want SQLite, PostgreSQL or MySQL",
			db.dialect)
	case bus == nil:
		return nil, errors.New("events: NewOutbox: the bus is nil: create one with events.NewDurable")
	case bus.opt.Dedup == NoDedup:
		return nil, errors.New("events: NewOutbox: DurableOptions.Dedup of the bus is NoDedup: " +
			"rows could be stored twice after a crash: set Dedup")
	case opts.Batch < 1 || opts.Batch > 10_000:
		return nil, fmt.Errorf("events: OutboxOptions.Batch is %d: want 1 to 10,000", opts.Batch)
	case opts.Poll < 0:
		return nil, fmt.Errorf("events: OutboxOptions.Poll is %v: want 0 (default) or a positive duration", opts.Poll)
	case opts.Lease < minOutboxLease:
		return nil, fmt.Errorf("events: OutboxOptions.Lease is %v: want at least %v", opts.Lease, minOutboxLease)
	case opts.MaxAttempts < 1:
		return nil, fmt.Errorf("events: OutboxOptions.MaxAttempts is %d: want at least 1", opts.MaxAttempts)
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
		query: fmt.Sprintf("SELECT %s FROM %s WHERE set_aside_ms IS NULL ORDER BY id LIMIT %d", outboxColumns,
			names.rows, opts.Batch),
		lease: fmt.Sprintf("UPDATE %s SET owner = %s, until_ms = %s + %d WHERE id = 1 AND (owner = %s OR until_ms < %s)",
			names.relay, d.placeholder(1), d.now(), opts.Lease.Milliseconds(), d.placeholder(2), d.now())}, nil
}

// Run relays rows until ctx ends or the bus closes, then it returns nil. It waits while another
// process has the lease. Errors of the database or the server are logged, and Run tries again.
// Errors: [ErrClosed].
func (o *Outbox) Run(ctx context.Context) error {
	if err := o.bus.life.enter("outbox"); err != nil {
		return fmt.Errorf("events: outbox %q: run: %w", o.names.text, err)
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

// outboxRun is the state of one Run.
type outboxRun struct {
	outbox *Outbox
	until  time.Time // end of this process' lease
	ready  bool      // the groups are registered
	warnAt time.Time // time of the next warning about a missing group
	retry  time.Duration
}

// step relays one batch. It returns the time until the next step.
func (r *outboxRun) step(ctx context.Context) time.Duration {
	o := r.outbox
	more, err := r.work(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		o.bus.core.Logger().Warn("events: failed to relay an outbox; it is tried again",
			"table", o.names.text, "error", err)
		r.retry = min(2*max(r.retry, retryFirst), 5*time.Second)
		return r.retry
	case more:
		r.retry = 0
		return 0
	}
	r.retry = 0
	return min(o.opt.Poll, o.opt.Lease/3) // renew or request the lease in time
}

// groupGrace is how long a group may be missing before a warning. Its subscriber may start at the
// same time as the outbox.
const groupGrace = 5 * time.Second

func (r *outboxRun) work(ctx context.Context) (more bool, err error) {
	o := r.outbox
	if now := time.Now(); now.Add(o.opt.Lease * 2 / 3).After(r.until) {
		affected, err := o.db.exec(ctx, o.lease, o.owner, o.owner)
		if err != nil {
			return false, fmt.Errorf("events: outbox %q: take the lease: %w: "+
				"if the tables are missing, create them with events.OutboxSchema", o.names.text, err)
		}
		if affected == 0 {
			return false, nil // another relay has the lease
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
				o.bus.core.Logger().Warn("events: the outbox waits for a group; its rows stay in the table",
					"table", o.names.text, "bus", o.bus.bus, "missing", missing)
			}
			return false, nil
		}
		r.ready = true
	}

	n, err := o.Relay(ctx)
	return n > 0, err
}

// missingGroups returns the names of the groups that are not registered in every partition.
func (o *Outbox) missingGroups(ctx context.Context) (string, error) {
	if o.opt.WithoutGroups {
		return "", nil
	}
	registered, err := o.bus.registered(ctx)
	if err != nil {
		return "", fmt.Errorf("events: outbox %q: read the groups: %w", o.names.text, err)
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

// registered returns the groups that are registered in every partition. It takes one round trip per
// node.
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

// listen wakes Run when the database notifies the process.
func (o *Outbox) listen(ctx context.Context, wake chan struct{}) {
	for ctx.Err() == nil {
		err := o.db.listen(ctx, o.names.channel, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		if ctx.Err() == nil {
			o.bus.core.Logger().Debug("events: the database does not notify an outbox; the outbox polls",
				"table", o.names.text, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// release ends the lease, so that the next relay can start.
func (o *Outbox) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := o.db.exec(ctx, fmt.Sprintf("UPDATE %s SET until_ms = 0 WHERE id = 1 AND owner = %s",
		o.names.relay, o.db.dialect.placeholder(1)), o.owner)
	if err != nil {
		o.bus.core.Logger().Debug("events: failed to release the lease of an outbox; it expires",
			"table", o.names.text, "error", err)
	}
}
