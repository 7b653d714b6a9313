package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
)

// addConfirmed writes and waits on one connection that nobody else uses: WAIT counts the writes of its own connection,
// and would hold up everything behind it on the shared one.
func (d *Durable) addConfirmed(ctx context.Context, p *partition, m *message) (word string, err error) {
	want := m.confirm
	switch {
	case want.Replicas < 0:
		return "", fmt.Errorf("Confirmation.Replicas is %d: not negative", want.Replicas)
	case want.Timeout < 0:
		return "", fmt.Errorf("Confirmation.Timeout is %v: not negative", want.Timeout)
	case want.Disk && !d.core.Capabilities().WaitAOF:
		return "", errors.New("Confirmation.Disk: the server has no WAITAOF (Redis 7.2, Valkey); appendfsync always gives the same for every write")
	}
	want.Timeout = orDefault(want.Timeout, time.Second)
	ctx, cancel := context.WithTimeout(ctx, want.Timeout+d.core.Timeout())
	defer cancel()
	client, err := d.core.Blocking(ctx)
	if err != nil {
		return "", err
	}
	addr, known := d.core.Owner(keys.Slot(p.stream))
	if addr != "" {
		client = client.Nodes()[addr]
	}
	if !known || client == nil {
		d.core.RefreshTopology()
		return "", fault.New(fault.ErrUnavailable, errors.New("the partition's node is not known"), "retry later")
	}
	call := d.publishCall(p, []*message{m})
	// A goroutine of its own: the client library does not look at ctx everywhere, and a caller's end must not wait for it.
	type outcome struct {
		replies []rueidis.RedisResult
	}
	done := make(chan outcome, 1)
	if !d.core.Group().Go("confirmed publish", func(context.Context) {
		conn, back := client.Dedicate()
		defer back()
		b := conn.B()
		wait := b.Wait().Numreplicas(int64(want.Replicas)).Timeout(want.Timeout.Milliseconds()).Build()
		if want.Disk {
			wait = b.Waitaof().Numlocal(1).Numreplicas(int64(want.Replicas)).Timeout(want.Timeout.Milliseconds()).Build()
		}
		done <- outcome{conn.DoMulti(ctx,
			b.Eval().Script(publishSource).Numkeys(int64(len(call.Keys))).Key(call.Keys...).Arg(call.Args...).Build(), wait)}
	}) {
		return "", fault.New(fault.ErrUnavailable, errors.New("the client is closed"), "")
	}
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		return "", fault.Classify(ctx.Err(), true)
	}
	word, err = o.replies[0].ToString()
	if err != nil {
		if r, ok := rueidis.IsRedisErr(err); ok {
			if _, moved := r.IsMoved(); moved { // it was not executed
				d.core.RefreshTopology()
			}
		}
		return "", fault.Classify(err, true)
	}
	if word == wordConflict { // it is not the event that is stored
		return word, nil
	}
	return word, confirmed(o.replies[1], want)
}

func confirmed(reply rueidis.RedisResult, want Confirmation) error {
	var disk, replicas int64
	var err error
	if want.Disk {
		var both []int64
		if both, err = reply.AsIntSlice(); err == nil && len(both) == 2 {
			disk, replicas = both[0], both[1]
		}
	} else {
		disk = 1
		replicas, err = reply.AsInt64()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, fault.Classify(err, true))
	}
	if disk < 1 || replicas < int64(want.Replicas) {
		return fmt.Errorf("%w: %s of %d", ErrUnconfirmed, strconv.FormatInt(replicas, 10), want.Replicas)
	}
	return nil
}
