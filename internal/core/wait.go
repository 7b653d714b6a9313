package core

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/internal/wire"
)

var (
	errNoConnection = errors.New("no connection to wait on")
	errUnknownNode  = errors.New("the key's node is not known")
)

// EvalWait runs a script, and then a command that waits for the script's writes: WAIT or WAITAOF.
// Such a command covers the writes of its own connection and blocks it. So both commands use a
// connection of their own. EvalWait returns when ctx ends; the command timeout does not apply. If
// the script was not sent by then, it is never sent, and the error is ErrUnavailable.
func (c *Core) EvalWait(ctx context.Context, s *script.Script, names, args []string, wait Command) (ran, waited Result) {
	if err := c.begin(ctx, c.due()); err != nil {
		return Result{err: err}, Result{err: err}
	}

	answered, sent := make(chan [2]Result, 1), new(atomic.Bool)
	// The pool of the client library ignores ctx while it waits for a connection or dials one.
	if !c.group.Go("wait for replicas", func(context.Context) { answered <- c.evalWait(ctx, s, names, args, wait, sent) }) {
		err := fault.Classify(errClosed, false)
		return Result{err: err}, Result{err: err}
	}

	select {
	case both := <-answered:
		return both[0], both[1]
	case <-ctx.Done():
	}
	err := fault.Classify(contextError(ctx), true)
	if !sent.Load() {
		err = fault.New(fault.ErrUnavailable, fmt.Errorf("%w: %w", errNoConnection, contextError(ctx)),
			"nothing was done: retry, and raise PoolSize if it happens often")
	}
	return Result{err: err}, Result{err: err}
}

func (c *Core) evalWait(ctx context.Context, s *script.Script, names, args []string, wait Command,
	sent *atomic.Bool) (both [2]Result) {
	client, err := c.waitingClient(ctx, names[0])
	if err != nil {
		return [2]Result{{err: err}, {err: err}}
	}
	conn, release := client.Dedicate()
	defer release()

	// sent is set before the commands are sent. If the caller leaves in between, it reports an
	// unknown outcome for a script that is not sent. The reverse would be wrong.
	sent.Store(ctx.Err() == nil)
	if err := ctx.Err(); err != nil {
		err = fault.Classify(contextError(ctx), false)
		return [2]Result{{err: err}, {err: err}}
	}

	results := conn.DoMulti(ctx,
		conn.B().Eval().Script(s.Source()).Numkeys(int64(len(names))).Key(names...).Arg(args...).Build(),
		conn.B().Arbitrary(wait.name).Args(wait.args...).Build())
	for i, r := range results {
		if both[i].reply, both[i].err = replyOf(r); both[i].err == nil {
			both[i].err = both[i].reply.Err()
		}
	}
	if fault.Code(both[0].err) == "MOVED" { // the script was not executed
		c.requestTopology()
	}
	return both
}

// waitingClient returns the client of the client library for the node of a key.
func (c *Core) waitingClient(ctx context.Context, key string) (rueidis.Client, error) {
	client, err := c.blocking.get(ctx, c.due())
	if err != nil {
		return nil, err
	}

	addr, known := c.Owner(keys.Slot(key))
	if addr != "" {
		client = client.Nodes()[addr]
	}
	if !known || client == nil {
		c.requestTopology()
		return nil, fault.New(fault.ErrUnavailable, errUnknownNode, "retry")
	}
	return client, nil
}

// replyOf converts a result of the client library, for a command that may have changed data.
func replyOf(r rueidis.RedisResult) (Reply, error) {
	msg, err := r.ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		return Reply{}, fault.Foreign(err, true)
	}
	return wire.Foreign(&msg), nil
}
