package lock

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
)

// replicate waits until enough replicas have what was just given to id. WAIT speaks of the writes of its own
// connection and holds that up, so it has one for itself; the renewal before it is the write, and
// replication being a sequence, whoever has the renewal has the grant.
func (l *Locker) replicate(ctx context.Context, targets []*target, id string) error {
	limit := l.core.Timeout()
	ctx, cancel := context.WithTimeout(ctx, limit+limit/2)
	defer cancel()
	result := make(chan error, 1)
	// The pool hands out connections without a look at ctx.
	if !l.core.Group().Go("replication of a lock", func(context.Context) { result <- l.confirm(ctx, targets, id, limit) }) {
		return fmt.Errorf("%w: the client is closed", redstart.ErrUnavailable)
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: no answer from the replicas: %w", ErrNotReplicated, because(ctx))
	}
}

func (l *Locker) confirm(ctx context.Context, targets []*target, id string, limit time.Duration) error {
	client, err := l.core.Blocking(ctx)
	if err != nil {
		return err
	}
	if addr := l.node(targets[0]); addr != "" {
		if client = client.Nodes()[addr]; client == nil {
			return fmt.Errorf("%w: %s is not in the cluster", redstart.ErrUnavailable, addr)
		}
	}
	conn, back := client.Dedicate()
	defer back()
	cmds := make([]rueidis.Completed, 0, len(targets)+1)
	for _, t := range targets {
		call := l.renewCall(t, id)
		cmds = append(cmds, conn.B().Eval().Script(t.family.renew.Source()).Numkeys(int64(len(call.Keys))).Key(call.Keys...).Arg(call.Args...).Build())
	}
	cmds = append(cmds, conn.B().Wait().Numreplicas(int64(l.opt.MinReplicas)).Timeout(limit.Milliseconds()).Build())
	results := conn.DoMulti(ctx, cmds...)
	for _, r := range results[:len(targets)] {
		n, err := r.AsInt64()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotReplicated, err)
		}
		if n != 1 {
			return errGone
		}
	}
	n, err := results[len(targets)].AsInt64()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotReplicated, err)
	}
	if n < int64(l.opt.MinReplicas) {
		return fmt.Errorf("%w: %s of %d replicas confirmed within %v", ErrNotReplicated, strconv.FormatInt(n, 10), l.opt.MinReplicas, limit.Round(time.Millisecond))
	}
	return nil
}
