package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// replicate waits until enough replicas have the grant of a lease. WAIT covers the writes of its
// own connection and blocks it, so the connection is exclusive. The write on it is a renewal.
// Replication is ordered: a replica that has the renewal has the grant too.
func (l *Locker) replicate(ctx context.Context, ls *lease) error {
	t := ls.target
	limit := l.core.Timeout()
	ctx, cancel := context.WithTimeout(ctx, limit+limit/2)
	defer cancel()
	renewal := core.Call{Keys: []string{}, Args: []string{retentionArg}}
	for _, part := range t.each() {
		renewal.Keys = append(renewal.Keys, l.renewKeys(part)...)
		renewal.Args = append(renewal.Args, ls.id, ls.settings.ttlArg)
	}

	wait := core.WriteAt("", "WAIT", strconv.Itoa(l.opt.MinReplicas), strconv.FormatInt(limit.Milliseconds(), 10))
	ran, waited := l.core.EvalWait(ctx, t.scripts.renew, renewal.Keys, renewal.Args, wait)

	msg, err := ran.Get()
	for _, v := range renewResults(msg, err, len(t.each())) {
		switch v {
		case unknown:
			return errors.Join(fmt.Errorf("%w: no answer to the renewal", ErrNotReplicated), err)
		case gone:
			return fmt.Errorf("%w: the server has another owner or none", ErrNotReplicated)
		}
	}

	msg, err = waited.Get()
	n, notNumber := msg.AsInt64()
	if err = cmp.Or(err, notNumber); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReplicated, err)
	}

	if n < int64(l.opt.MinReplicas) {
		return fmt.Errorf("%w: %s of %d replicas confirmed within %v", ErrNotReplicated,
			strconv.FormatInt(n, 10), l.opt.MinReplicas, limit.Round(time.Millisecond))
	}

	return nil
}
