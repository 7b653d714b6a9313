package session

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

// confirmed runs a script and waits until enough replicas have confirmed its writes. WAIT counts
// the writes of its own connection and blocks it, so both commands run on a dedicated connection.
func (rs *records) confirmed(ctx context.Context, s *script.Script, keys, args []string) (core.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, rs.core.Timeout()+rs.opt.ReplicaWait)
	defer cancel()
	wait := core.WriteAt("", "WAIT", strconv.Itoa(rs.opt.MinReplicas), millis(rs.opt.ReplicaWait))
	ran, waited := rs.core.EvalWait(ctx, s, keys, args, wait)
	msg, err := ran.Get()
	if err != nil {
		return msg, err
	}
	count, err := waited.Get()
	if err != nil {
		return msg, err
	}
	n, err := count.AsInt64()
	if err != nil {
		return msg, fault.Classify(err, true)
	}
	if n < int64(rs.opt.MinReplicas) {
		return msg, fault.New(fault.ErrIndeterminate,
			fmt.Errorf("the sessions have ended on the primary, but only %d of %d replicas confirmed within %v", n, rs.opt.MinReplicas,
				rs.opt.ReplicaWait),
			"repeat the call until it succeeds: a failover could bring the session back")
	}
	return msg, nil
}
