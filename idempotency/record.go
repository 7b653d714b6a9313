package idempotency

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
)

var (
	//go:embed begin.lua
	beginLua string
	//go:embed renew.lua
	renewLua string
	//go:embed store.lua
	storeLua string
	//go:embed release.lua
	releaseLua string

	beginScript   = script.New(beginLua)
	renewScript   = script.New(renewLua)
	storeScript   = script.New(storeLua)
	releaseScript = script.New(releaseLua)
)

// record is the record of one request on the server, as one owner sees it.
type record struct {
	executor    *Executor
	key         string
	owner       string // random, of this request
	fingerprint string
}

// record returns the record of a key in a scope. The length of the scope separates the two.
func (e *Executor) record(scope, key, fingerprint string) *record {
	user := strconv.Itoa(len(scope)) + "=" + scope + "|" + key
	return &record{executor: e, key: e.space.Key(user), owner: rand.Text(), fingerprint: fingerprint}
}

// state is what begin.lua returns.
type state int64

// The states of a record.
const (
	begun         state = iota // this owner holds the lease
	running                    // another execution holds the lease
	reused                     // the key belongs to a request with another fingerprint
	finished                   // there is a result
	notRepeatable              // executed, without a result
)

// begin takes the lease, or returns the state and the result of an earlier request. If the reply is
// lost, it asks again: the script knows its owner.
func (rec *record) begin(ctx context.Context) (state, *result, error) {
	lease := milliseconds(rec.executor.opt.Lease)
	reply, err := rec.eval(ctx, "begin", beginScript, rec.owner, rec.fingerprint, lease)
	if err != nil {
		return 0, nil, err
	}
	return parseBegin(reply)
}

// parseBegin parses the reply of begin.lua.
func parseBegin(reply core.Reply) (state, *result, error) {
	list, err := reply.ToArray()
	if err != nil || len(list) == 0 {
		return 0, nil, malformed(reply)
	}
	n, err := list[0].ToInt64()
	if err != nil || n < int64(begun) || n > int64(notRepeatable) || (len(list) == 4) != (state(n) == finished) {
		return 0, nil, malformed(reply)
	}
	if state(n) != finished {
		return state(n), nil, nil
	}

	status, err1 := list[1].AsInt64()
	header, err2 := list[2].ToString()
	body, err3 := list[3].ToString()
	if errors.Join(err1, err2, err3) != nil {
		return 0, nil, malformed(reply)
	}
	res, err := decodeResult(int(status), header, body)
	if err != nil {
		return 0, nil, fault.New(fault.ErrCorrupt, err, "look for another program that writes these keys")
	}
	return finished, res, nil
}

// renew renews the lease. It returns false if another owner has begun, or if there is a result.
func (rec *record) renew(ctx context.Context) (bool, error) {
	lease := milliseconds(rec.executor.opt.Lease)
	return yes(rec.eval(ctx, "renew", renewScript, rec.owner, rec.fingerprint, lease))
}

// store stores a result, or with nil that there is none to repeat. It returns false if another
// owner has begun.
func (rec *record) store(ctx context.Context, res *result) (bool, error) {
	status, header, body := res.encode()
	retention := milliseconds(rec.executor.opt.Retention)
	return yes(rec.eval(ctx, "store", storeScript, rec.owner, rec.fingerprint, retention, status, header, body))
}

// release frees the key if this owner still has it.
func (rec *record) release(ctx context.Context) error {
	_, err := yes(rec.eval(ctx, "release", releaseScript, rec.owner))
	return err
}

// eval runs a script of the record. Each script is safe to repeat for one owner. So a call whose
// reply was lost is repeated once, while the caller waits.
func (rec *record) eval(ctx context.Context, verb string, s *script.Script, args ...string) (core.Reply, error) {
	e := rec.executor
	ctx, end := e.core.Start(ctx, observe.Operation{Pattern: "idempotency", Name: e.name, Verb: verb})
	reply, err := e.core.Eval(ctx, s, []string{rec.key}, args)
	if errors.Is(err, fault.ErrIndeterminate) && ctx.Err() == nil {
		again, failure := e.core.Eval(ctx, s, []string{rec.key}, args)
		if failure == nil {
			reply, err = again, nil
		} // else the outcome of the first call is still unknown
	}
	end(err)
	if err != nil {
		return reply, fmt.Errorf("idempotency: %s in %q: %w", verb, e.name, err)
	}
	return reply, nil
}

// yes parses the reply of a script that returns 1 or 0.
func yes(reply core.Reply, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := reply.ToInt64()
	if err != nil || n < 0 || n > 1 {
		return false, malformed(reply)
	}
	return n == 1, nil
}

func malformed(reply core.Reply) error {
	return fault.New(fault.ErrCorrupt, fmt.Errorf("idempotency: unexpected reply of a script: %v", reply),
		"look for another program that writes these keys")
}

// milliseconds returns a duration for the server, which counts in milliseconds. It rounds up.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}
