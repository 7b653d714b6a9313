package events

import (
	"context"
	_ "embed"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed publish_live.lua
	publishLiveSource string

	publishLiveScript = script.New(publishLiveSource)
)

// liveOnce is the size in bytes from which a script publishes an event, so that its text travels to
// the server once. For smaller texts, a script costs the server more than a second PUBLISH.
const liveOnce = 16 << 10

// send publishes an event to the subscribers of its channel and to the subscribers of patterns. It
// sends two commands in one pipeline. A large event is published by one script, except in a
// cluster, where the two channels can be on two nodes.
func (l *Live) send(ctx context.Context, m *message) error {
	if m.delay != 0 || !m.at.IsZero() || m.confirm != (Confirmation{}) {
		return errDurableOnly
	}
	// This call waits for the first connection. Until then it is unknown whether subscribers use
	// shard channels.
	command := l.core.PublishCommand(ctx)
	own, glob := l.space.Key(m.channel), l.globs[globPartition(m.channel)]
	if err := l.sendTo(ctx, command, own, glob, m.text); err != nil {
		return err
	}
	if m.receipt != nil {
		*m.receipt = Receipt{ID: m.id}
	}
	return nil
}

func (l *Live) sendTo(ctx context.Context, command, own, glob, text string) error {
	if len(text) >= liveOnce && !l.core.HasSlots() {
		_, err := l.core.Eval(ctx, publishLiveScript, nil, []string{command, own, glob, text})
		return err
	}
	to := func(channel string) core.Command {
		at := ""
		if command == "SPUBLISH" {
			at = channel
		}
		return core.WriteAt(at, command, channel, text)
	}
	for _, r := range l.core.DoMulti(ctx, to(own), to(glob)) {
		if _, err := r.Get(); err != nil {
			return err
		}
	}
	return nil
}
