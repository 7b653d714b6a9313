package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/redstart-go/redstart/internal/core"
)

// acquire takes up to n free partitions. It skips partitions whose server does not answer.
func (r *durableRun) acquire(ctx context.Context, among []int, n int) error {
	var errs []error
	for len(among) > 0 && n > 0 {
		some := among[:min(len(among), maxPipeline)]
		among = among[len(some):]
		free, err := r.unowned(ctx, some, n)
		if err != nil {
			errs = append(errs, err)
		}
		if len(free) == 0 {
			continue
		}
		taken, err := r.take(ctx, free)
		if n -= taken; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leaseError names the lease that was not granted. It logs an unusable key; that partition is left
// out.
func (r *durableRun) leaseError(ctx context.Context, partition int, err error) error {
	err = r.nameKey(ctx, r.d.parts[partition], fmt.Errorf("lease of partition %d: %w", partition, err))
	if unusable(err) {
		r.logFailure("events: a partition cannot be owned", partition, err)
	}
	return err
}

// unowned returns up to n partitions whose lease is free, or was possibly granted to this process.
func (r *durableRun) unowned(ctx context.Context, among []int, n int) (free []*partitionConsumer, failed error) {
	gets := make([]core.Command, 0, len(among))
	for _, i := range among {
		gets = append(gets, core.Read("GET", r.d.groupKeys(r.d.parts[i], r.sub.name).lease))
	}
	for j, result := range r.d.core.DoMulti(ctx, gets...) {
		msg, err := result.Get()
		if err != nil {
			failed = worse(failed, r.leaseError(ctx, among[j], err))
			continue
		}
		c := r.unconfirmed[among[j]]
		holder, _ := msg.ToString()
		if len(free) == n || !msg.IsNil() && (c == nil || holder != c.token) {
			continue
		}
		if c == nil {
			c = r.newConsumer(among[j])
		}
		free = append(free, c)
	}
	return free, failed
}

// take requests leases, and owns the granted ones.
func (r *durableRun) take(ctx context.Context, free []*partitionConsumer) (taken int, failed error) {
	calls := make([]core.Call, len(free))
	for j, c := range free {
		calls[j] = core.Call{Keys: []string{c.keys.lease, c.keys.group, c.p.stream, c.p.groups},
			Args: []string{c.token, millis(r.d.opt.Lease), r.sub.name, "0"}}
	}
	sent := r.d.core.Time().Now()
	for j, result := range r.d.core.EvalMulti(ctx, acquireScript, calls) {
		c := free[j]
		msg, err := result.Get()
		if err == nil {
			err = r.d.points.Fail("granted", "")
		}
		if err != nil { // possibly granted: a second request with the same token succeeds
			r.unconfirmed[c.index], failed = c, worse(failed, r.leaseError(ctx, c.index, err))
			continue
		}
		delete(r.unconfirmed, c.index)
		if msg.IsNil() {
			continue
		}
		taken++
		if err := r.own(c, msg, sent); err != nil {
			failed = err
		}
	}
	return taken, failed
}
