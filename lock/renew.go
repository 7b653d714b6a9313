package lock

import (
	"errors"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// renewBatch is how many leases one script renews. More leases would block other clients of the
// server for more than 0.2 ms.
const renewBatch = 50

// renewResult is the server's answer to a renewal.
type renewResult int8

// The results, in order: the result of several targets is the least.
const (
	gone    renewResult = iota
	unknown             // no answer, or an error: the renewer tries again while the lease is valid
	renewed
)

// renewal is one target of a lease.
type renewal struct {
	lease  int // index of the lease
	target *target
}

// renew extends leases of one node in one pipeline.
func (l *Locker) renew(leases []*lease) []renewResult {
	results := make([]renewResult, len(leases))
	var mutexes, shares []renewal
	for i, ls := range leases {
		results[i] = renewed
		for _, t := range ls.target.each() {
			if t.scripts == &sharedScripts {
				shares = append(shares, renewal{i, t})
			} else {
				mutexes = append(mutexes, renewal{i, t})
			}
		}
	}

	l.renewFamily(&mutexScripts, leases, mutexes, results)
	l.renewFamily(&sharedScripts, leases, shares, results)
	return results
}

// renewFamily renews targets with one script, and lowers the results of their leases to the
// server's answers. A script may touch one slot. So in a cluster, a script renews one lease, or
// several leases of a Group.
func (l *Locker) renewFamily(f *scriptSet, leases []*lease, all []renewal, results []renewResult) {
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
			results[at] = min(results[at], v)
		}
	}
}

// renewResults parses the answer of a renewal script: one digit for each lease.
func renewResults(msg core.Reply, err error, n int) []renewResult {
	results := make([]renewResult, n)
	digits, notText := msg.ToString()
	for i := range results {
		switch {
		case err == nil && notText == nil && len(digits) == n && digits[i] == '1':
			results[i] = renewed
		case err == nil && notText == nil && len(digits) == n || errors.Is(err, fault.ErrCorrupt):
			// the key has a value of another program
			results[i] = gone
		default:
			results[i] = unknown
		}
	}

	return results
}
