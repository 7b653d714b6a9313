package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// addConfirmed publishes and waits on a dedicated connection, for two reasons. WAIT counts the
// writes of its own connection only. On the shared connection, WAIT would delay all later commands.
func (d *Durable) addConfirmed(ctx context.Context, p *partition, m *message) (word string, err error) {
	want := m.confirm
	switch {
	case want.Replicas < 0:
		return "", fmt.Errorf("Confirmation.Replicas is %d: not negative", want.Replicas)
	case want.Timeout < 0:
		return "", fmt.Errorf("Confirmation.Timeout is %v: not negative", want.Timeout)
	case want.Disk && !d.core.Capabilities().WaitAOF:
		return "", errors.New("Confirmation.Disk: the server has no WAITAOF (Redis 7.2, Valkey): " +
			"set appendfsync always on the server, which gives the same for each write")
	}

	want.Timeout = orDefault(want.Timeout, time.Second)
	ctx, cancel := context.WithTimeout(ctx, want.Timeout+d.core.Timeout())
	defer cancel()
	call := d.publishCall(p, []*message{m})
	replicas, millis := strconv.Itoa(want.Replicas), strconv.FormatInt(want.Timeout.Milliseconds(), 10)
	wait := core.WriteAt("", "WAIT", replicas, millis)
	if want.Disk {
		wait = core.WriteAt("", "WAITAOF", "1", replicas, millis)
	}

	ran, waited := d.core.EvalWait(ctx, publishScript, call.Keys, call.Args, wait)
	msg, err := ran.Get()
	if err != nil {
		return "", err
	}
	if word, err = msg.ToString(); err != nil {
		return "", err
	}
	if word == wordConflict { // another event is stored under this id
		return word, nil
	}
	return word, confirmed(waited, want)
}

// confirmed returns nil if the reply of WAIT or WAITAOF has the required numbers.
func confirmed(waited core.Result, want Confirmation) error {
	var disk, replicas int64
	reply, err := waited.Get()
	var both []int64
	switch {
	case err != nil:
	case !want.Disk:
		disk = 1
		replicas, err = reply.AsInt64()
	default:
		if both, err = reply.AsIntSlice(); err == nil && len(both) == 2 {
			disk, replicas = both[0], both[1]
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	if disk < 1 || replicas < int64(want.Replicas) {
		return fmt.Errorf("%w: %s of %d", ErrUnconfirmed, strconv.FormatInt(replicas, 10), want.Replicas)
	}
	return nil
}
