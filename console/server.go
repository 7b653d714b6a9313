package console

import "context"

// fact is a label with a value, for people.
type fact struct{ Label, Value string }

// serverView is the content of the page Server.
type serverView struct{ Facts []fact }

func (c *Console) serverPage(context.Context, request) any {
	caps := c.client.Capabilities()
	return serverView{Facts: []fact{
		{"Server", printable(caps.Server, maxShown)}, {"Version", printable(caps.Version, maxShown)},
		{"Client tracking", yesNo(caps.Tracking)}, {"Sharded Pub/Sub", yesNo(caps.ShardedPubSub)},
	}}
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
