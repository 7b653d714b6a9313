package demo

import (
	"context"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/session"
)

type (
	manager = session.Manager[string]
	visit   = session.Session[string]
)

func openSessions(client *redstart.Client) (*manager, error) {
	opts := session.Options{RenewGrace: session.NoGrace}
	return session.New[string](client, "story", opts)
}

func logIn(
	ctx context.Context, m *manager, device string,
) (*visit, error) {
	from := session.Device(device, "192.0.2.1")
	return m.Create(ctx, owner, "", session.Remember(), from)
}

func comeBack(
	ctx context.Context, m *manager, token string,
) (*visit, error) {
	// Each use replaces the token. A replaced token ends its session.
	return m.Recall(ctx, token)
}

func revoke(ctx context.Context, m *manager, id string) error {
	return m.Revoke(ctx, owner, id) // in all instances
}
