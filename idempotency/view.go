package idempotency

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/idempotencyview"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed show.lua
	showLua string
	//go:embed forget.lua
	forgetLua string

	showScript   = script.ReadOnly(showLua)
	forgetScript = script.New(forgetLua)
)

// Package inspect reads and forgets records through package idempotencyview. It has no Executor: it
// does not know the options of the services.
var _ = idempotencyview.Register(idempotencyview.Functions{Read: viewRead, Forget: viewForget})

// viewKey returns the key of a record on the server. It refuses names that no request has.
func viewKey(c *core.Core, id idempotencyview.ID) (string, error) {
	switch {
	case len(id.Scope) > maxScope:
		return "", tooLong("scope", len(id.Scope), maxScope)
	case len(id.Key) > maxKey:
		return "", tooLong("key", len(id.Key), maxKey)
	case id.Key == "":
		return "", errEmptyKey
	}
	space, err := c.Keys("idempotency", id.Executor)
	if err != nil {
		return "", err
	}
	return (&Executor{space: space}).record(id.Scope, id.Key, "").key, nil
}

func tooLong(what string, n, most int) error {
	return fault.New(fault.ErrTooLarge, fmt.Errorf("the %s is %d bytes long, the limit is %d", what, n, most), "")
}

// foreign is the problem of a record that no executor of this release has written.
const foreign = "another program or release wrote the key"

// showParts are the elements of the reply of show.lua.
const showParts = 7

func viewRead(ctx context.Context, c *core.Core, id idempotencyview.ID, most int) (
	r idempotencyview.Record, result idempotencyview.Result, found bool, err error) {
	key, err := viewKey(c, id)
	if err != nil {
		return r, result, false, err
	}
	reply, err := c.Eval(ctx, showScript, []string{key}, []string{strconv.Itoa(most)})
	if errors.Is(err, fault.ErrCorrupt) {
		return idempotencyview.Record{Problem: "the key has another type"}, result, true, nil
	}
	if err != nil {
		return r, result, false, err
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 0 && len(parts) != showParts {
		return r, result, false, malformed(reply)
	}
	if len(parts) == 0 {
		return r, result, false, nil
	}

	var numbers [5]int64
	for i := range numbers {
		if i != 2 {
			if numbers[i], err = parts[i].ToInt64(); err != nil {
				return r, result, false, malformed(reply)
			}
		}
	}
	status, err1 := parts[2].ToString()
	header, err2 := parts[5].ToString()
	body, err3 := parts[6].ToString()
	if errors.Join(err1, err2, err3) != nil {
		return r, result, false, malformed(reply)
	}
	r = idempotencyview.Record{TTL: time.Duration(max(numbers[0], 0)) * time.Millisecond, HeaderBytes: numbers[3],
		BodyBytes: numbers[4]}
	viewState(&r, numbers[1] == 1, status)
	if r.State == idempotencyview.Finished && header != "" {
		if _, err := decodeResult(r.Status, header, body); err != nil {
			r = idempotencyview.Record{TTL: r.TTL, Problem: foreign}
		}
	}
	if r.State != idempotencyview.Finished {
		return r, result, true, nil
	}
	return r, idempotencyview.Result{Header: header, Body: body}, true, nil
}

// viewState sets the state of a record. owned reports that it has an owner and a fingerprint.
func viewState(r *idempotencyview.Record, owned bool, status string) {
	code, err := strconv.Atoi(status)
	switch {
	case owned && status == "":
		r.State = idempotencyview.Running
	case owned && status == "0":
		r.State = idempotencyview.NotRepeatable
	case owned && err == nil && code >= 200 && code <= 999:
		r.State, r.Status = idempotencyview.Finished, code
	default:
		r.Problem = foreign
	}
}

// forgotten are the states by the number that forget.lua returns.
var forgotten = []idempotencyview.State{"", idempotencyview.Running, idempotencyview.Finished, idempotencyview.NotRepeatable}

func viewForget(ctx context.Context, c *core.Core, id idempotencyview.ID) (idempotencyview.State, error) {
	key, err := viewKey(c, id)
	if err != nil {
		return "", err
	}
	reply, err := c.Eval(ctx, forgetScript, []string{key}, nil)
	if err != nil {
		return "", err
	}
	n, err := reply.ToInt64()
	switch {
	case err != nil || n < 0 || n > int64(len(forgotten)):
		return "", malformed(reply)
	case n == int64(len(forgotten)):
		return "", fault.New(fault.ErrCorrupt, errors.New(foreign), "look for the program that writes these keys")
	}
	return forgotten[n], nil
}
