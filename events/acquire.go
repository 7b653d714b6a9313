package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// acquire takes up to n of the partitions that no consumer owns. A partition whose server does not answer is passed over.
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

// leaseError says which lease was not granted, and logs it if a key is unusable: such a partition is left out.
func (r *durableRun) leaseError(ctx context.Context, partition int, err error) error {
	err = r.nameKey(ctx, r.d.parts[partition], fmt.Errorf("lease of partition %d: %w", partition, err))
	if unusable(err) {
		r.trouble("events: a partition can't be owned", partition, err)
	}
	return err
}

// unowned looks for up to n partitions whose lease is free, or was perhaps granted to this process.
func (r *durableRun) unowned(ctx context.Context, among []int, n int) (free []*session, failed error) {
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
		x := r.asked[among[j]]
		holder, _ := msg.ToString()
		if len(free) == n || !msg.IsNil() && (x == nil || holder != x.token) {
			continue
		}
		if x == nil {
			x = r.session(among[j])
		}
		free = append(free, x)
	}
	return free, failed
}

// take asks for leases, and owns those that are granted.
func (r *durableRun) take(ctx context.Context, free []*session) (taken int, failed error) {
	calls := make([]core.Call, len(free))
	for j, x := range free {
		calls[j] = core.Call{Keys: []string{x.keys.lease, x.keys.group, x.p.stream, x.p.groups}, Args: []string{x.token, millis(r.d.opt.Lease), r.sub.name, "0"}}
	}
	sent := time.Now()
	for j, result := range r.d.core.EvalMulti(ctx, acquireScript, calls) {
		x := free[j]
		msg, err := result.Get()
		if err == nil {
			err = r.d.points.Fail("granted", "")
		}
		if err != nil { // it may have been granted all the same: the same token is granted it again
			r.asked[x.index], failed = x, worse(failed, r.leaseError(ctx, x.index, err))
			continue
		}
		delete(r.asked, x.index)
		if msg.IsNil() {
			continue
		}
		taken++
		if err := r.own(x, msg, sent); err != nil {
			failed = err
		}
	}
	return taken, failed
}
