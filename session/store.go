package session

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed commit.lua
	commitLua string
	//go:embed delete.lua
	deleteLua string

	commitScript = script.New(commitLua)
	deleteScript = script.New(deleteLua)
)

// Store is a store for github.com/alexedwards/scs. It implements Store and CtxStore of scs. Create
// it with [NewStore].
//
// Store is for programs that use scs. It adds hashed tokens and encryption. A Commit after the
// Delete of its token, from a concurrent request, fails with ErrNotFound and does not restore the
// session. For users, lists and revocation use a [Manager]. Store has no All: it stores the hashes
// of tokens, so it can't list tokens.
type Store struct {
	core       *core.Core
	space      keys.Space
	name       string
	opt        StoreOptions
	seal       sealer
	unreadable atomic.Int64
}

// StoreOptions configures a [Store]. The zero value is a good default.
type StoreOptions struct {
	// EncryptionKeys and AllowPlaintext have the meaning of the fields of [Options].
	EncryptionKeys [][]byte
	AllowPlaintext bool
	// MaxSize is the limit of the data of one session, in bytes. Default 64 KiB, at most 4 MiB.
	MaxSize int
	// TombstoneTTL is the time for which the server remembers a deleted token, to refuse late
	// saves. It must be longer than the longest request. Default 10 min.
	TombstoneTTL time.Duration
}

// NewStore returns a Store. It sends no command. The name is required and is part of every key.
func NewStore(client *redstart.Client, name string, opts StoreOptions) (*Store, error) {
	base, err := Options{EncryptionKeys: opts.EncryptionKeys, AllowPlaintext: opts.AllowPlaintext,
		MaxSize: opts.MaxSize}.withDefaults()
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, errors.New("session: the client is nil: call redstart.Open first")
	}
	if name == "" {
		return nil, errors.New("session: the name is empty: name the store, for example \"scs\"")
	}
	opts.MaxSize = base.MaxSize
	if opts.TombstoneTTL == 0 {
		opts.TombstoneTTL = 10 * time.Minute
	}
	if opts.TombstoneTTL < time.Second || opts.TombstoneTTL > maxTimeout {
		return nil, fmt.Errorf("session: StoreOptions.TombstoneTTL is %v: want %v to %v", opts.TombstoneTTL,
			time.Second, maxTimeout)
	}
	space, err := clientcore.Of(client).Keys("session", name)
	if err != nil {
		return nil, fmt.Errorf("session: the name %q: %w", name, err)
	}
	return &Store{core: clientcore.Of(client), space: space, name: name, opt: opts,
		seal: newSealer(opts.EncryptionKeys, opts.AllowPlaintext)}, nil
}

// FindCtx returns the bytes of a session. One round trip. An unknown, expired or unreadable session
// is not found.
func (st *Store) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	name := hashToken(token)
	msg, err := st.core.Do(ctx, core.Read("GET", st.space.Key(name)))
	switch {
	case errors.Is(err, fault.ErrCorrupt):
		st.unreadable.Add(1)
		return nil, false, nil
	case err != nil:
		return nil, false, st.failed("find", err)
	case msg.IsNil():
		return nil, false, nil
	}
	raw, err := msg.ToString()
	if err == nil && raw == string([]byte{formatVersion, stateReplaced}) {
		return nil, false, nil
	}
	if err != nil || len(raw) < 2 || raw[0] != formatVersion || raw[1] != stateLive {
		st.unreadable.Add(1)
		return nil, false, nil //nolint:nilerr // counted; for scs, unreadable data is missing data
	}
	p, _, err := st.seal.open(st.binding(name), raw[2:])
	if err != nil {
		st.unreadable.Add(1)
		return nil, false, nil //nolint:nilerr // counted; for scs, unreadable data is missing data
	}
	return []byte(p.data), true, nil
}

// CommitCtx stores the bytes of a session until expiry. One round trip. An expiry in the past
// deletes the session.
//
// Errors: ErrNotFound if the token was deleted less than TombstoneTTL ago; redstart.ErrTooLarge;
// the classes of package redstart.
func (st *Store) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	if len(b) > st.opt.MaxSize {
		return st.failed("commit", tooLarge("the session", len(b), st.opt.MaxSize))
	}
	name := hashToken(token)
	left := time.Until(expiry).Milliseconds()
	if left <= 0 {
		return st.DeleteCtx(ctx, token)
	}
	body, err := st.seal.seal(st.binding(name), &payload{data: string(b)})
	if err != nil {
		return st.failed("commit", err)
	}
	value := string([]byte{formatVersion, stateLive}) + body
	msg, err := st.core.Eval(ctx, commitScript, []string{st.space.Key(name)}, []string{value, fmt.Sprint(left)})
	if err != nil {
		return st.failed("commit", err)
	}
	if n, err := msg.AsInt64(); err != nil || n == 0 {
		return st.failed("commit", ErrNotFound)
	}
	return nil
}

// DeleteCtx ends a session. One round trip. DeleteCtx of an unknown token is no error.
func (st *Store) DeleteCtx(ctx context.Context, token string) error {
	_, err := st.core.Eval(ctx, deleteScript, []string{st.space.Key(hashToken(token))}, []string{millis(st.opt.TombstoneTTL)})
	if err != nil {
		return st.failed("delete", err)
	}
	return nil
}

// Find is FindCtx with the timeout of the client as its only deadline.
func (st *Store) Find(token string) (b []byte, found bool, err error) {
	return st.FindCtx(context.Background(), token)
}

// Commit is CommitCtx with the timeout of the client as its only deadline.
func (st *Store) Commit(token string, b []byte, expiry time.Time) error {
	return st.CommitCtx(context.Background(), token, b, expiry)
}

// Delete is DeleteCtx with the timeout of the client as its only deadline.
func (st *Store) Delete(token string) error { return st.DeleteCtx(context.Background(), token) }

// Unreadable returns the number of sessions that were not found because their bytes could not be
// read.
func (st *Store) Unreadable() int64 { return st.unreadable.Load() }

// failed returns the error of an operation of this Store.
func (st *Store) failed(op string, err error) error { return &opError{op: op, name: st.name, err: err} }

func (st *Store) binding(name string) binding {
	return binding{index: st.space.Prefix(), id: name, kind: 's'}
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
