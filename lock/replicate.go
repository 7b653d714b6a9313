package lock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

// replicate waits until enough replicas have what was just given to id. WAIT speaks of the writes of its own
// connection and holds that up, so it has one for itself; the renewal before it is the write, and
// replication being a sequence, whoever has the renewal has the grant.
func (l *Locker) replicate(ctx context.Context, t *target, c *terms, id string) error {
	limit := l.core.Timeout()
	ctx, cancel := context.WithTimeout(ctx, limit+limit/2)
	defer cancel()
	result := make(chan error, 1)
	// The pool hands out connections without a look at ctx.
	if !l.core.Group().Go("replication of a lock", func(context.Context) { result <- l.confirm(ctx, t, c, id, limit) }) {
		return fmt.Errorf("%w: the client is closed", redstart.ErrUnavailable)
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: no answer from the replicas: %w", ErrNotReplicated, because(ctx))
	}
}

func (l *Locker) confirm(ctx context.Context, t *target, c *terms, id string, limit time.Duration) error {
	client, err := l.core.Blocking(ctx)
	if err != nil {
		return err
	}
	if addr := l.node(t); addr != "" {
		if client = client.Nodes()[addr]; client == nil {
			return fmt.Errorf("%w: %s is not in the cluster", redstart.ErrUnavailable, addr)
		}
	}
	conn, back := client.Dedicate()
	defer back()
	renewal := core.Call{Keys: []string{}, Args: []string{retentionArg}}
	for _, part := range t.each() {
		renewal.Keys = append(renewal.Keys, l.renewKeys(part)...)
		renewal.Args = append(renewal.Args, id, c.ttlArg)
	}
	results := conn.DoMulti(ctx,
		conn.B().Eval().Script(t.family.renew.Source()).Numkeys(int64(len(renewal.Keys))).Key(renewal.Keys...).Arg(renewal.Args...).Build(),
		conn.B().Wait().Numreplicas(int64(l.opt.MinReplicas)).Timeout(limit.Milliseconds()).Build())
	msg, err := core.ReplyOf(results[0], true)
	for _, v := range verdictsOf(msg, err, len(t.each())) {
		switch v {
		case unknown:
			return errors.Join(fmt.Errorf("%w: no answer to the renewal", ErrNotReplicated), err)
		case gone:
			return fmt.Errorf("%w: the server no longer knows us as its owner", ErrNotReplicated)
		}
	}

	n, err := results[1].AsInt64()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotReplicated, err)
	}
	if n < int64(l.opt.MinReplicas) {
		return fmt.Errorf("%w: %s of %d replicas confirmed within %v", ErrNotReplicated, strconv.FormatInt(n, 10), l.opt.MinReplicas, limit.Round(time.Millisecond))
	}
	return nil
}
