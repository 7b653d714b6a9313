package inspect

import (
	"context"
	"errors"
	"fmt"

	_ "github.com/redstart-go/redstart/idempotency" // it registers its format
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/idempotencyview"
)

// Idempotency shows and forgets the records of idempotency keys. Use [Inspector.Idempotency].
type Idempotency struct {
	in   *Inspector
	view idempotencyview.Functions
}

// Idempotency returns the executors of the namespace.
func (in *Inspector) Idempotency() *Idempotency { return &Idempotency{in, idempotencyview.Of()} }

// IdempotencyID identifies the record of one request.
type IdempotencyID struct {
	Executor string `json:"executor"` // name of the executor
	// Scope is what idempotency.Options.Scope returned, often a user. Empty for
	// idempotency.OneScope.
	Scope string `json:"scope"`
	Key   string `json:"key"` // the Idempotency-Key, without quotes
}

// IdempotencyRecord is the record of one request. It has nothing of the response except its status
// and its size.
type IdempotencyRecord struct {
	IdempotencyID
	// State is "running" (an execution holds the lease), "finished" (a repeated request gets the
	// stored result), or "not repeatable" (executed, and the result is not stored).
	State string `json:"state"`
	// TTLLeft is the rest of the lease of a running execution, which it renews. After the
	// execution, it is the time until the key is free. 0: the stored value has no TTL.
	TTLLeft     Duration `json:"ttl_left"`
	Status      int      `json:"status,omitempty"` // of the stored response
	HeaderBytes int64    `json:"header_bytes"`
	BodyBytes   int64    `json:"body_bytes"`
	// Problem is the reason why State is empty: another program or release wrote the key.
	Problem string `json:"problem,omitempty"`
}

// IdempotencyResult is a stored response. It may have secrets.
type IdempotencyResult struct {
	IdempotencyRecord
	Header string `json:"header"` // fields in the form of HTTP/1.1
	Body   []byte `json:"body"`
}

// Show returns the record of a request, without its response: one round trip. Errors: [ErrNotFound]
// if the key is free.
func (i *Idempotency) Show(ctx context.Context, id IdempotencyID) (IdempotencyRecord, error) {
	r, _, err := i.read(ctx, id, 0)
	if err != nil {
		return r, failure("show idempotency key", quoted(id.Key)+" of executor "+quoted(id.Executor), err)
	}
	return r, nil
}

// Result returns the stored response of a request: one round trip. It may be secret: request it
// only if the operator may see it. Errors: [ErrNotFound] if no response is stored;
// redstart.ErrTooLarge if it has more than 1 MiB; redstart.ErrCorrupt for a value of another
// program.
func (i *Idempotency) Result(ctx context.Context, id IdempotencyID) (IdempotencyResult, error) {
	r, stored, err := i.read(ctx, id, maxShown)
	switch {
	case err != nil:
	case r.Problem != "":
		err = fault.New(fault.ErrCorrupt, errors.New(r.Problem), "look for the program that writes these keys")
	case r.State != string(idempotencyview.Finished):
		err = fmt.Errorf("%w: the request is %s", ErrNotFound, r.State)
	case r.HeaderBytes+r.BodyBytes > maxShown:
		err = fault.New(fault.ErrTooLarge, fmt.Errorf("the response has %d bytes, the limit is %d",
			r.HeaderBytes+r.BodyBytes, maxShown), "")
	}
	if err != nil {
		return IdempotencyResult{IdempotencyRecord: r}, failure("read the result of idempotency key",
			quoted(id.Key)+" of executor "+quoted(id.Executor), err)
	}
	return IdempotencyResult{IdempotencyRecord: r, Header: stored.Header, Body: []byte(stored.Body)}, nil
}

// Forget deletes the result of a request. The key is then free: a repeated request is executed
// again. Forget it only if the effect of the first execution was undone, or never happened. Errors:
// [ErrReadOnly]; [ErrNotFound] if the key is free; [ErrRunning] while an execution holds the lease,
// and then nothing is changed.
func (i *Idempotency) Forget(ctx context.Context, id IdempotencyID) error {
	r := repair{"idempotency", "forget", id.Executor, id.Scope + " " + id.Key}
	_, err := i.in.repair(ctx, r, func(ctx context.Context) (int64, error) {
		if err := checkName("executor", id.Executor); err != nil {
			return 0, err
		}
		state, err := i.view.Forget(ctx, i.in.core, idempotencyview.ID(id))
		switch {
		case err != nil:
			return 0, err
		case state == idempotencyview.Running:
			return 0, ErrRunning
		case state == "":
			return 0, ErrNotFound
		}
		return 1, nil
	})
	return err
}

func (i *Idempotency) read(ctx context.Context, id IdempotencyID, most int) (IdempotencyRecord, idempotencyview.Result, error) {
	shown := IdempotencyRecord{IdempotencyID: id}
	if err := checkName("executor", id.Executor); err != nil {
		return shown, idempotencyview.Result{}, err
	}
	r, stored, found, err := i.view.Read(ctx, i.in.core, idempotencyview.ID(id), most)
	if err == nil && !found {
		err = ErrNotFound
	}
	shown.State, shown.TTLLeft, shown.Status = string(r.State), Duration(r.TTL), r.Status
	shown.HeaderBytes, shown.BodyBytes, shown.Problem = r.HeaderBytes, r.BodyBytes, r.Problem
	return shown, stored, err
}
