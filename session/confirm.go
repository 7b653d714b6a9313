package session

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	slots "github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
)

// confirmed runs a script and waits until enough replicas have what it wrote. WAIT looks at what its own connection has
// written and blocks it, so both run on a connection of their own.
func (rs *records) confirmed(ctx context.Context, s *script.Script, keys, args []string) (core.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, rs.core.Timeout()+rs.opt.ReplicaWait)
	defer cancel()
	type answer struct {
		msg core.Reply
		err error
	}
	answered, sent := make(chan answer, 1), atomic.Bool{}
	// The pool hands out connections, and dials them, without a look at ctx: blocking readers may have them all.
	started := rs.core.Group().Go("confirmation of a revocation", func(context.Context) {
		msg, err := rs.runAndWait(ctx, s, keys, args, &sent)
		answered <- answer{msg, err}
	})
	if !started {
		return core.Reply{}, fault.New(fault.ErrUnavailable, nil, "the client is closed")
	}
	select {
	case a := <-answered:
		return a.msg, a.err
	case <-ctx.Done():
	}
	if sent.Load() {
		return core.Reply{}, fault.Classify(context.Cause(ctx), true)
	}
	// What has not left by now never does: its context has ended.
	return core.Reply{}, fault.New(fault.ErrUnavailable, fmt.Errorf("no connection to wait for replicas on: %w", context.Cause(ctx)),
		"nothing was done: retry, and raise PoolSize if it happens often")
}

func (rs *records) runAndWait(ctx context.Context, s *script.Script, keys, args []string, sent *atomic.Bool) (msg core.Reply, err error) {
	client, err := rs.core.Blocking(ctx)
	if err != nil {
		return msg, err
	}
	if addr, ok := rs.core.Owner(slots.Slot(keys[0])); ok && addr != "" {
		node := client.Nodes()[addr]
		if node == nil {
			rs.core.RefreshTopology()
			return msg, fault.New(fault.ErrUnavailable, fmt.Errorf("%s is not connected", addr), "retry")
		}
		client = node
	}
	conn, release := client.Dedicate()
	defer release()
	// Noted first: who looks in between takes what never leaves for what may have, not the other way round.
	sent.Store(ctx.Err() == nil)
	results := conn.DoMulti(ctx,
		conn.B().Eval().Script(s.Source()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build(),
		conn.B().Wait().Numreplicas(int64(rs.opt.MinReplicas)).Timeout(rs.opt.ReplicaWait.Milliseconds()).Build())
	if msg, err = core.ReplyOf(results[0], true); err != nil {
		if fault.Code(err) == "MOVED" { // it was not executed
			rs.core.RefreshTopology()
		}
		return msg, err
	}
	n, err := results[1].AsInt64()
	if err != nil {
		return msg, fault.Classify(err, true)
	}
	if n < int64(rs.opt.MinReplicas) {
		return msg, fault.New(fault.ErrIndeterminate, fmt.Errorf("it is done, but only %d of %d replicas have confirmed it within %v", n, rs.opt.MinReplicas, rs.opt.ReplicaWait),
			"repeat it until it succeeds: a failover before could bring the session back")
	}
	return msg, nil
}
