package console

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// sessionsView is the content of the page Sessions.
type sessionsView struct {
	Managers section[[]name]
	Manager  name
	User     name
	Asked    bool
	List     section[sessionList]
	Pager    pager
	Back     string
}

type sessionList struct {
	Rows []sessionRow
	More more
}

// sessionRow is a session or a remember-me token. It has no secret.
type sessionRow struct {
	ID                         name
	Kind                       string
	Device, Address            name
	Created, LastSeen, Expires time.Time
	Encrypted                  bool
	Problem                    string
}

func (c *Console) sessionsPage(ctx context.Context, req request) any {
	sessions := c.inspector.Sessions()
	v := sessionsView{Back: c.self("/sessions", req), User: nameOf(req.arg("user"))}
	v.Managers = loadAtMost(ctx, &c.kept, "managers", scanAge, func(ctx context.Context) ([]name, error) {
		list, err := sessions.Managers(ctx, inspect.Page{})
		names := make([]name, 0, len(list.Items))
		for _, m := range list.Items {
			names = append(names, nameOf(m.Name))
		}
		return names, err
	})
	manager := req.arg("manager")
	if manager == "" && len(v.Managers.Value) > 0 {
		manager = v.Managers.Value[0].Raw
	}
	v.Manager = nameOf(manager)
	user, cursor := req.arg("user"), req.arg("cursor")
	if v.Asked = manager != "" && user != ""; !v.Asked {
		return v
	}

	v.List = load(ctx, &c.kept, "sessions "+v.Back, func(ctx context.Context) (sessionList, error) {
		list, err := sessions.OfUser(ctx, manager, user, inspect.Page{Cursor: cursor})
		rows := sessionList{More: moreOf(list.Next, list.Scanned, list.Complete)}
		for i := range list.Items {
			rows.Rows = append(rows.Rows, sessionRowOf(&list.Items[i]))
		}
		return rows, err
	})
	v.Pager = c.pager("/sessions", req, v.List.Value.More)
	return v
}

func sessionRowOf(s *inspect.SessionInfo) sessionRow {
	kind := s.Kind
	if kind == "remember" {
		kind = "remember-me token"
	}
	return sessionRow{
		ID: nameOf(s.ID), Kind: kind, Device: nameOf(s.UserAgent), Address: nameOf(s.Address), Created: s.Created,
		LastSeen: s.LastSeen, Expires: s.Expires, Encrypted: s.Encrypted, Problem: printable(s.Problem, maxShown),
	}
}

func revokeSession(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	var manager, user, id string
	if err := f.names(map[string]*string{"manager": &manager, "user": &user, "id": &id}); err != nil {
		return 0, err
	}
	return one(in.Sessions().Revoke(ctx, manager, user, id))
}

func revokeUser(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	var manager, user string
	if err := f.names(map[string]*string{"manager": &manager, "user": &user}); err != nil {
		return 0, err
	}
	n, err := in.Sessions().RevokeAll(ctx, manager, user)
	return int64(n), err
}
