package inspect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/internal/sessionview"
	_ "github.com/redstart-go/redstart/session" // it registers its format
)

// SessionKeys are the secrets of one session manager, for [Options.SessionKeys]. The fields have
// the meaning of the fields of session.Options.
type SessionKeys struct {
	// Encryption is EncryptionKeys. Without the key of a session, the list shows its times, and
	// neither its device nor its data.
	Encryption [][]byte
	// User is UserKey. Without it, no session of such a manager is found.
	User []byte
	// Plaintext is AllowPlaintext.
	Plaintext bool
}

// Format prints no key, for every verb.
func (k SessionKeys) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "SessionKeys{%d encryption keys}", len(k.Encryption))
}

// Sessions shows and ends the sessions of users. Use [Inspector.Sessions]. It never has a token:
// the server stores the hash of the secret part only.
type Sessions struct{ in *Inspector }

// Sessions returns the sessions of the namespace.
func (in *Inspector) Sessions() *Sessions { return &Sessions{in} }

// ManagerInfo is a session manager, or a session.Store.
type ManagerInfo struct {
	Name string `json:"name"`
}

// SessionInfo is a session of a user, or a remember-me token.
type SessionInfo struct {
	ID string `json:"id"` // public id, for Revoke; it is no token
	// Kind is "session", "remember" (a remember-me token) or "unknown" (data of another release or
	// of another program).
	Kind string `json:"kind"`
	// Linked is the id of the remember-me token of a session, or of the session of a token.
	Linked   string    `json:"linked,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	LastSeen time.Time `json:"last_seen,omitzero"` // exact to 1 min
	Expires  time.Time `json:"expires,omitzero"`   // without further use

	UserAgent string `json:"user_agent,omitempty"`
	Address   string `json:"address,omitempty"`
	Encrypted bool   `json:"encrypted"`
	Bytes     int    `json:"bytes"` // stored
	// Problem is the reason why the device is not shown, such as a missing key. Empty: there is no
	// problem.
	Problem string `json:"problem,omitempty"`
}

// SessionData is the content of one session.
type SessionData struct {
	SessionInfo
	Codec int `json:"codec"` // codec.Codec.ID of the data: 1 is JSON, 2 is CBOR, 3 is raw bytes
	// Data is the data as the codec encoded it. It may hold any bytes.
	Data string `json:"data"`
}

// SessionCount counts the sessions among the keys that a call examined.
type SessionCount struct {
	Users      int `json:"users"`      // users with a session or a remember-me token
	Sessions   int `json:"sessions"`   // sessions of users
	Remembered int `json:"remembered"` // remember-me tokens
	Anonymous  int `json:"anonymous"`  // sessions of visitors
	Stored     int `json:"stored"`     // sessions of a session.Store
	Unknown    int `json:"unknown"`    // data of another release or of another program

	// Next, Scanned and Complete have the meaning of the fields of [List].
	Next     string `json:"next,omitempty"`
	Scanned  int    `json:"scanned"`
	Complete bool   `json:"complete"`
}

// Managers returns the names of session managers and stores that have a session. It scans the keys
// of the server.
func (s *Sessions) Managers(ctx context.Context, p Page) (List[ManagerInfo], error) {
	list, err := names(ctx, s.in, "managers", "session", "*", p)
	if err != nil {
		return List[ManagerInfo]{Items: []ManagerInfo{}}, failure("list session managers", "", err)
	}
	return mapList(list, func(name string) ManagerInfo { return ManagerInfo{name} }), nil
}

// OfUser returns the sessions and remember-me tokens of a user, in the order in which they end. Two
// round trips per 100 items. It scans no keys, so Scanned counts items.
func (s *Sessions) OfUser(ctx context.Context, manager, user string, p Page) (List[SessionInfo], error) {
	list, err := s.ofUser(ctx, manager, user, p)
	if err != nil {
		return list, failure("list sessions of user", quoted(user)+" of manager "+quoted(manager), err)
	}
	return list, nil
}

func (s *Sessions) ofUser(ctx context.Context, manager, user string, p Page) (List[SessionInfo], error) {
	list := List[SessionInfo]{Items: []SessionInfo{}}
	limit, err := p.limit()
	if err != nil {
		return list, err
	}
	offset, err := offsetOf(p.Cursor, "sessions")
	if err != nil {
		return list, err
	}
	m, err := s.open(manager, user)
	if err != nil {
		return list, err
	}
	page, err := m.OfUser(ctx, user, offset, limit)
	if err != nil {
		return list, err
	}

	for i := range page.Records {
		list.Items = append(list.Items, sessionInfo(&page.Records[i]))
	}
	list.Scanned = page.Scanned
	if page.Next > 0 {
		list.Next = cursorOf("sessions", fmt.Sprint(page.Next))
	}
	list.Complete = p.Cursor == "" && list.Next == ""
	return list, nil
}

// Data returns one session of a user with its data: one round trip. The data is the user's: request
// it only if the operator may see it. Errors: ErrNotFound; an error with the reason if the data
// can't be decrypted or read.
func (s *Sessions) Data(ctx context.Context, manager, user, id string) (SessionData, error) {
	m, err := s.open(manager, user)
	var r sessionview.Record
	if err == nil {
		r, err = m.Find(ctx, user, id)
	}
	if errors.Is(err, sessionview.ErrNotFound) {
		err = ErrNotFound
	}
	if err == nil && r.Problem != "" {
		err = errors.New(r.Problem)
	}
	if err != nil {
		return SessionData{}, failure("read session", quoted(id)+" of user "+quoted(user), err)
	}
	return SessionData{SessionInfo: sessionInfo(&r), Codec: int(r.Codec), Data: string(r.Data)}, nil
}

// Count counts the sessions of a manager. It scans the keys of the server: sum up the pages until
// Next is empty.
func (s *Sessions) Count(ctx context.Context, manager string, p Page) (SessionCount, error) {
	var c SessionCount
	m, err := s.open(manager, "-")
	if err != nil {
		return c, failure("count sessions of manager", quoted(manager), err)
	}
	space, err := s.in.core.Keys("session", manager)
	if err != nil {
		return c, failure("count sessions of manager", quoted(manager), err)
	}

	p.Limit = maxLimit
	steps, err := scan(ctx, s.in, "session counts", space.Match(""), p,
		func(ctx context.Context, found []string) ([]sessionview.Counts, error) {
			some, err := m.Count(ctx, found)
			return []sessionview.Counts{some}, err
		})
	if err != nil {
		return c, failure("count sessions of manager", quoted(manager), err)
	}
	for _, some := range steps.Items {
		c.Users += some.Users
		c.Sessions += some.Sessions
		c.Remembered += some.Remembered
		c.Anonymous += some.Anonymous
		c.Stored += some.Stored
		c.Unknown += some.Unknown
	}
	c.Next, c.Scanned, c.Complete = steps.Next, steps.Scanned, steps.Complete
	return c, nil
}

// Revoke ends one session of a user, with its remember-me token, as session.Manager.Revoke does.
// Errors: ErrReadOnly; ErrNotFound if the user has no such session.
func (s *Sessions) Revoke(ctx context.Context, manager, user, id string) error {
	r := repair{"session", "revoke", manager, user + " " + id}
	_, err := s.in.repair(ctx, r, func(ctx context.Context) (int64, error) {
		m, err := s.open(manager, user)
		if err != nil {
			return 0, err
		}
		ended, err := m.Revoke(ctx, user, id)
		switch {
		case err != nil:
			return 0, err
		case !ended:
			return 0, ErrNotFound
		}
		return 1, nil
	})
	return err
}

// RevokeAll ends all sessions and remember-me tokens of a user, as session.Manager.RevokeUser does,
// and returns the number of sessions. Errors: ErrReadOnly.
func (s *Sessions) RevokeAll(ctx context.Context, manager, user string) (int, error) {
	r := repair{"session", "revoke all", manager, user}
	n, err := s.in.repair(ctx, r, func(ctx context.Context) (int64, error) {
		m, err := s.open(manager, user)
		if err != nil {
			return 0, err
		}
		n, err := m.RevokeAll(ctx, user)
		return int64(n), err
	})
	return int(n), err
}

// open returns the stored state of a manager.
func (s *Sessions) open(manager, user string) (sessionview.Manager, error) {
	if manager == "" {
		return nil, errors.New("the name of the manager is empty: Managers lists the names")
	}
	if user == "" {
		return nil, errors.New("the user is empty: pass the name of a user")
	}
	k := s.in.opt.SessionKeys[manager]
	return sessionview.Open(s.in.core, manager,
		sessionview.Keys{Encryption: k.Encryption, User: k.User, Plaintext: k.Plaintext})
}

func sessionInfo(r *sessionview.Record) SessionInfo {
	info := SessionInfo{ID: r.ID, Kind: string(r.Kind), Linked: r.Linked, Created: r.Created, LastSeen: r.LastSeen,
		Expires: r.Expires, UserAgent: r.UserAgent, Address: r.Address, Encrypted: r.Encrypted, Bytes: r.Bytes, Problem: r.Problem}
	return info
}
