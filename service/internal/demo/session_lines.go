package demo

import (
	"context"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/session"
)

func openSessions(client *redstart.Client) (*session.Manager[string], error) {
	return session.New[string](client, "story", session.Options{RenewGrace: session.NoGrace})
}

func logIn(ctx context.Context, m *session.Manager[string], device string) (*session.Session[string], error) {
	return m.Create(ctx, owner, "", session.Remember(), session.Device(device, "192.0.2.1"))
}

func comeBack(ctx context.Context, m *session.Manager[string], token string) (*session.Session[string], error) {
	return m.Recall(ctx, token) // replaces the token; a token that was replaced before ends its session
}

func revoke(ctx context.Context, m *session.Manager[string], id string) error {
	return m.Revoke(ctx, owner, id) // in all instances
}
