package lock

import (
	"errors"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// renewBatch is how many leases one script renews. More would keep other clients of the server waiting for longer
// than 0.2 ms at a time.
const renewBatch = 50

// verdict is the server's answer to a renewal.
type renewResult int8

// The least of several counts.
const (
	gone    renewResult = iota
	unknown             // no answer, or an error: try again while the lease lasts
	renewed
)

// renewal is one target of a lease.
type renewal struct {
	lease  int // its place among the leases
	target *target
}

// renew asks the server to extend leases, all of one node, in one pipeline.
func (l *Locker) renew(leases []*lease) []renewResult {
	verdicts := make([]renewResult, len(leases))
	var mutexes, shares []renewal
	for i, ls := range leases {
		verdicts[i] = renewed
		for _, t := range ls.target.each() {
			if t.scripts == &sharedScripts {
				shares = append(shares, renewal{i, t})
			} else {
				mutexes = append(mutexes, renewal{i, t})
			}
		}
	}

	l.renewFamily(&mutexScripts, leases, mutexes, verdicts)
	l.renewFamily(&sharedScripts, leases, shares, verdicts)
	return verdicts
}

// renewFamily renews with one family's script and lowers the verdicts to what the server answers. A script touches one
// slot, so in a cluster it renews one lease, or several of a Group.
func (l *Locker) renewFamily(f *scriptSet, leases []*lease, all []renewal, verdicts []renewResult) {
	if len(all) == 0 {
		return
	}
	batch := renewBatch
	if l.cluster && l.opt.Group == "" {
		batch = 1
	}
	calls := make([]core.Call, 0, len(all)/batch+1)
	for start := 0; start < len(all); start += batch {
		part := all[start:min(start+batch, len(all))]
		call := core.Call{Args: make([]string, 1, 1+2*len(part))}
		call.Args[0] = retentionArg
		for _, r := range part {
			call.Keys = append(call.Keys, l.renewKeys(r.target)...)
			call.Args = append(call.Args, leases[r.lease].id, leases[r.lease].settings.ttlArg)
		}
		calls = append(calls, call)
	}

	for i, result := range l.core.EvalMulti(l.core.Group().Context(), f.renew, calls) {
		part := all[i*batch : min((i+1)*batch, len(all))]
		digits, err := result.Get()
		for _, r := range part {
			if err != nil {
				leases[r.lease].failure.Store(&err)
			} else {
				leases[r.lease].failure.Store(nil)
			}
		}
		for k, v := range renewResults(digits, err, len(part)) {
			at := part[k].lease
			verdicts[at] = min(verdicts[at], v)
		}
	}
}

// verdictsOf reads the answer of a renewal script: a digit for each lease.
func renewResults(msg core.Reply, err error, n int) []renewResult {
	verdicts := make([]renewResult, n)
	digits, notText := msg.ToString()
	for i := range verdicts {
		switch {
		case err == nil && notText == nil && len(digits) == n && digits[i] == '1':
			verdicts[i] = renewed
		case err == nil && notText == nil && len(digits) == n || errors.Is(err, fault.ErrCorrupt): // another program's key
			verdicts[i] = gone
		default:
			verdicts[i] = unknown
		}
	}
	return verdicts
}
