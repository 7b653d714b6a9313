package console

import (
	"context"
	"time"
)

// fact is a label with a value, for people.
type fact struct{ Label, Value string }

// serverView is the content of the page Server.
type serverView struct {
	Facts        []fact
	Capabilities []capability
	Health       health
	Nodes        section[nodeStates]
	Findings     section[doctorFindings]
	Answer       section[time.Duration] // time of one round trip
}

// capability is a feature of the server, and what uses it.
type capability struct {
	Name string
	Has  bool
	Use  string
}

func (c *Console) serverPage(ctx context.Context, _ request) any {
	v := serverView{}
	v.Answer = load(ctx, &c.kept, "ping", func(ctx context.Context) (time.Duration, error) {
		began := time.Now()
		err := c.client.Ping(ctx)
		return time.Since(began), err
	})
	v.Health, v.Nodes, v.Findings = c.health(), c.nodes.get(ctx), c.doctor.get(ctx)
	caps := c.client.Capabilities()
	v.Facts = []fact{
		{"Server", orUnknown(caps.Server)}, {"Version", orUnknown(caps.Version)}, {"Mode", orUnknown(v.Nodes.Value.Mode)},
		{"Namespace", printable(c.namespace, maxShown)},
	}
	v.Capabilities = []capability{
		{"Client tracking", caps.Tracking, "The server invalidates near caches. Without it, near caches are off."},
		{"Sharded Pub/Sub", caps.ShardedPubSub, "Live events of a cluster go to one shard only."},
		{"WAITAOF", caps.WaitAOF, "A publisher can wait until an event is on disk."},
	}
	return v
}

func orUnknown(text string) string {
	if text == "" {
		return "not connected yet"
	}
	return printable(text, maxShown)
}
