package session

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

// confirmed runs a script and waits until enough replicas have what it wrote. WAIT looks at what its own connection has
// written and blocks it, so both run on a connection of their own.
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
		return msg, fault.New(fault.ErrIndeterminate, fmt.Errorf("it is done, but only %d of %d replicas have confirmed it within %v", n, rs.opt.MinReplicas, rs.opt.ReplicaWait),
			"repeat it until it succeeds: a failover before could bring the session back")
	}
	return msg, nil
}
