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

// Store keeps the sessions of github.com/alexedwards/scs: it is its Store and CtxStore. Use NewStore.
//
// It is for programs that come from there. It brings them hashed tokens, encryption and no resurrection: a Commit that
// comes after the Delete of its token, from a request that was under way, is refused with ErrNotFound. Users, lists and revocation
// need a Manager. There is no All: tokens are stored as their hash, so they can't be listed.
type Store struct {
	core       *core.Core
	space      keys.Space
	opt        StoreOptions
	seal       sealer
	unreadable atomic.Int64
}

// StoreOptions configure a Store. The zero value is a good default.
type StoreOptions struct {
	// Name is part of every key; default "scs".
	Name string
	// EncryptionKeys and AllowPlaintext are as in Options.
	EncryptionKeys [][]byte
	AllowPlaintext bool
	// MaxSize bounds one session's bytes; default 64 KiB, at most 4 MiB.
	MaxSize int
	// Remember is for how long a deleted token is remembered, to refuse late saves: longer than your
	// longest request; default 10 min.
	Remember time.Duration
}

// NewStore returns a Store on a client. It sends nothing.
func NewStore(client *redstart.Client, opts StoreOptions) (*Store, error) {
	base, err := Options{EncryptionKeys: opts.EncryptionKeys, AllowPlaintext: opts.AllowPlaintext, MaxSize: opts.MaxSize}.withDefaults()
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, errors.New("session: the client is nil")
	}
	opts.MaxSize = base.MaxSize
	if opts.Name == "" {
		opts.Name = "scs"
	}
	if opts.Remember == 0 {
		opts.Remember = 10 * time.Minute
	}
	if opts.Remember < time.Second || opts.Remember > maxTimeout {
		return nil, fmt.Errorf("session: StoreOptions.Remember is %v: between %v and %v", opts.Remember, time.Second, maxTimeout)
	}
	space, err := clientcore.Of(client).Keys("session", opts.Name)
	if err != nil {
		return nil, fmt.Errorf("session: StoreOptions.Name: %w", err)
	}
	return &Store{core: clientcore.Of(client), space: space, opt: opts, seal: newSealer(opts.EncryptionKeys, opts.AllowPlaintext)}, nil
}

// FindCtx returns a session's bytes: one round trip. Unknown, expired and unreadable ones are not found.
func (st *Store) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	name := hashed(token)
	msg, err := st.core.Do(ctx, core.Read("GET", st.space.Key(name)))
	switch {
	case errors.Is(err, fault.ErrCorrupt):
		st.unreadable.Add(1)
		return nil, false, nil
	case err != nil:
		return nil, false, failed("find", err)
	case msg.IsNil():
		return nil, false, nil
	}
	raw, err := msg.ToString()
	if err == nil && raw == string([]byte{formatVersion, stateReplaced}) {
		return nil, false, nil
	}
	if err != nil || len(raw) < 2 || raw[0] != formatVersion || raw[1] != stateLive {
		st.unreadable.Add(1)
		return nil, false, nil //nolint:nilerr // counted: to the store, unreadable data is missing data
	}
	p, _, err := st.seal.open(st.place(name), raw[2:])
	if err != nil {
		st.unreadable.Add(1)
		return nil, false, nil //nolint:nilerr // counted: to the store, unreadable data is missing data
	}
	return []byte(p.data), true, nil
}

// CommitCtx stores a session's bytes until expiry: one round trip. An expiry that has passed deletes.
func (st *Store) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	if len(b) > st.opt.MaxSize {
		return failed("commit", tooLarge("the session", len(b), st.opt.MaxSize))
	}
	name := hashed(token)
	left := time.Until(expiry).Milliseconds()
	if left <= 0 {
		return st.DeleteCtx(ctx, token)
	}
	body, err := st.seal.seal(st.place(name), &payload{data: string(b)})
	if err != nil {
		return failed("commit", err)
	}
	msg, err := st.core.Eval(ctx, commitScript, []string{st.space.Key(name)}, []string{string([]byte{formatVersion, stateLive}) + body, fmt.Sprint(left)})
	if err != nil {
		return failed("commit", err)
	}
	if n, err := msg.AsInt64(); err != nil || n == 0 {
		return failed("commit", ErrNotFound)
	}
	return nil
}

// DeleteCtx ends a session: one round trip. To delete what is not there is no error.
func (st *Store) DeleteCtx(ctx context.Context, token string) error {
	if _, err := st.core.Eval(ctx, deleteScript, []string{st.space.Key(hashed(token))}, []string{millis(st.opt.Remember)}); err != nil {
		return failed("delete", err)
	}
	return nil
}

// Find is FindCtx with no deadline but the client's.
func (st *Store) Find(token string) (b []byte, found bool, err error) {
	return st.FindCtx(context.Background(), token)
}

// Commit is CommitCtx with no deadline but the client's.
func (st *Store) Commit(token string, b []byte, expiry time.Time) error {
	return st.CommitCtx(context.Background(), token, b, expiry)
}

// Delete is DeleteCtx with no deadline but the client's.
func (st *Store) Delete(token string) error { return st.DeleteCtx(context.Background(), token) }

// Unreadable counts the sessions that were not found because their bytes could not be read.
func (st *Store) Unreadable() int64 { return st.unreadable.Load() }

func (st *Store) place(name string) place {
	return place{index: st.space.Prefix(), id: name, kind: 's'}
}

func hashed(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
