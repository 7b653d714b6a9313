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

// liveOnce is the size from which an event's text travels once, in a script. A script costs the server more than two commands, and a
// large text twice costs both sides more than a script.
const liveOnce = 16 << 10

// send publishes to those who want this channel and to those who want a pattern: two commands in one pipeline, or one script for a large
// event where one server has both channels.
func (l *Live) send(ctx context.Context, m *message) error {
	if m.delay != 0 || !m.at.IsZero() || m.confirm != (Confirmation{}) {
		return errDurableOnly
	}
	// It waits for the first connection: until then it is unknown whether subscribers use shard channels.
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
