package session

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/sessionview"
)

// view is the storage of a manager for package inspect. It registers no metrics and no name.
type view struct{ rs *records }

var _ = sessionview.Register(openView)

func openView(c *core.Core, name string, k sessionview.Keys) (sessionview.Manager, error) {
	opt, err := Options{EncryptionKeys: k.Encryption, UserKey: k.User, AllowPlaintext: k.Plaintext}.withDefaults()
	if err != nil {
		return nil, err
	}
	rs, err := newRecords(c, name, &opt)
	if err != nil {
		return nil, err
	}
	return view{rs}, nil
}

// OfUser reads records of a user by their place in the index, which is sorted by expiry. Records
// that start or end between two pages move the later ones.
func (v view) OfUser(ctx context.Context, user string, offset, limit int) (page sessionview.Page, err error) {
	tag := v.rs.tag(user)
	msg, err := v.rs.core.Do(ctx, core.Read("ZRANGE", v.rs.index(tag), strconv.Itoa(offset), strconv.Itoa(offset+limit-1)))
	if err != nil {
		return page, err
	}
	members, err := msg.AsStrSlice()
	if err != nil && !msg.IsNil() {
		return page, fault.New(fault.ErrCorrupt, err, "")
	}
	if page.Scanned = len(members); len(members) == limit {
		page.Next = offset + limit
	}
	for batch := range slices.Chunk(addresses(tag, members), listBatch) {
		some, err := v.read(ctx, user, batch)
		if err != nil {
			return page, err
		}
		page.Records = append(page.Records, some...)
	}
	return page, nil
}

// read reads records in one round trip. It omits records that are gone or belong to another user.
func (v view) read(ctx context.Context, user string, at []address) (all []sessionview.Record, err error) {
	cmds := make([]core.Command, len(at))
	for i, a := range at {
		cmds[i] = core.Read("GET", v.rs.key(a))
	}
	for i, result := range v.rs.core.DoMulti(ctx, cmds...) {
		msg, err := result.Get()
		if errors.Is(err, fault.ErrCorrupt) { // not a string
			all = append(all, sessionview.Record{ID: at[i].id, Kind: sessionview.Unknown, Problem: errMalformed.Error()})
			continue
		}
		if err != nil {
			return nil, err
		}
		if msg.IsNil() {
			continue
		}
		raw, err := msg.ToString()
		if err != nil {
			return nil, err
		}
		if r, ok := v.record(user, at[i], raw); ok {
			all = append(all, r)
		}
	}
	return all, nil
}

// record decodes a record. It returns false for a record of another user with the same tag, and for
// the mark of a session that has ended.
func (v view) record(user string, at address, raw string) (r sessionview.Record, ok bool) {
	r = sessionview.Record{ID: at.id, Kind: sessionview.Unknown, Bytes: len(raw)}
	moving := len(raw) > 1 && raw[0] == formatVersion && raw[1] == stateMoving
	if moving { // a moving record has the header of a live one
		raw = raw[:1] + string(stateLive) + raw[2:]
	}
	rec, err := parseHeader(at, raw)
	if err != nil {
		r.Problem = err.Error()
		return r, true
	}
	if rec.state == stateReplaced {
		return r, false
	}
	r.Kind, r.Linked, r.Moving = kindOf(rec.kind), rec.linked(), moving
	r.Created, r.LastSeen = rec.created, time.UnixMilli(rec.touched)
	r.Expires = time.UnixMilli(rec.until())
	r.Encrypted = rec.body != "" && rec.body[0] == bodyEncrypted
	if moving {
		r.Problem = errMoving.Error()
		return r, true
	}
	if len(rec.body) > 2*maxMaxSize {
		r.Problem = errMalformed.Error()
		return r, true
	}
	p, _, err := v.rs.seal.open(v.rs.binding(rec), rec.body)
	if err != nil {
		r.Problem = err.Error()
		return r, true
	}
	if p.user != user {
		return r, false
	}
	r.UserAgent, r.Address = p.userAgent, p.address
	if p.data != "" {
		r.Codec, r.Data = p.data[0], []byte(p.data[1:])
	}
	return r, true
}

func kindOf(kind byte) sessionview.Kind {
	switch kind {
	case kindUser:
		return sessionview.Session
	case kindRemember:
		return sessionview.Remember
	case kindAnonymous:
		return sessionview.Anonymous
	}
	return sessionview.Unknown
}

func (v view) Find(ctx context.Context, user, id string) (sessionview.Record, error) {
	if !isID(id) {
		return sessionview.Record{}, sessionview.ErrNotFound
	}
	found, err := v.read(ctx, user, []address{{v.rs.tag(user), id}})
	if err == nil && len(found) == 0 {
		err = sessionview.ErrNotFound
	}
	if err != nil {
		return sessionview.Record{}, err
	}
	return found[0], nil
}

func (v view) Revoke(ctx context.Context, user, id string) (bool, error) {
	if !isID(id) {
		return false, nil
	}
	n, err := v.rs.end(ctx, v.rs.tag(user), endRevoked, id)
	return n > 0, err
}

func (v view) RevokeAll(ctx context.Context, user string) (int, error) {
	return v.rs.endUser(ctx, "revoke user", v.rs.tag(user), "")
}

// Count reads the first bytes of each record.
func (v view) Count(ctx context.Context, keys []string) (c sessionview.Counts, err error) {
	var cmds []core.Command
	for _, key := range keys {
		tag, suffix, sibling, ok := v.rs.space.Split(key)
		switch {
		case !ok:
		case !sibling && len(tag) == tagLen:
			c.Users++
		case !sibling:
			c.Stored++
		case len(suffix) == len("s:")+idLen && suffix[:2] == "s:" && isID(suffix[2:]):
			cmds = append(cmds, core.Read("GETRANGE", key, "0", "2"))
		}
	}
	for _, result := range v.rs.core.DoMulti(ctx, cmds...) {
		msg, err := result.Get()
		if err != nil && !errors.Is(err, fault.ErrCorrupt) {
			return c, err
		}
		head, _ := msg.ToString() // not a string: unknown
		switch {
		case err == nil && head == "" || len(head) == 3 && head[0] == formatVersion && head[1] == stateReplaced:
		case len(head) < 3 || head[0] != formatVersion:
			c.Unknown++
		default:
			switch kindOf(head[2]) {
			case sessionview.Session:
				c.Sessions++
			case sessionview.Remember:
				c.Remembered++
			case sessionview.Anonymous:
				c.Anonymous++
			default:
				c.Unknown++
			}
		}
	}
	return c, nil
}
