package shop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart/service/internal/password"
	"github.com/redstart-go/redstart/service/internal/store"
)

// ErrWrongLogin means that no user has this email address and password. It does not report which of
// the two is wrong.
var ErrWrongLogin = errors.New("shop: wrong email address or password")

// Account is the data of a user for the user.
type Account struct {
	User
	Plan string `json:"plan"`
}

// SignUp adds a user. Errors: *Invalid, store.ErrEmailTaken.
func (s *Shop) SignUp(ctx context.Context, email, name, secret string) (Account, error) {
	email, name = normalEmail(email), strings.TrimSpace(name)
	if err := errors.Join(checkEmail(email), checkName(name), checkPassword(secret)); err != nil {
		return Account{}, err
	}
	var hash string
	if err := s.hash(ctx, func() { hash = password.Hash(secret) }); err != nil {
		return Account{}, err
	}
	row, err := s.store.AddUser(ctx, store.User{Email: email, Name: name, PasswordHash: hash, CreatedAt: time.Now()})
	if errors.Is(err, store.ErrEmailTaken) {
		return Account{}, err
	}
	// The cache may remember that the address or the id has no user, if they were requested before
	// the sign-up.
	err = errors.Join(err, s.invalidate(ctx, row.ID, email))
	return Account{visible(row), row.Plan}, err
}

// LogIn returns the user with this address and password, or ErrWrongLogin.
func (s *Shop) LogIn(ctx context.Context, email, secret string) (Account, error) {
	row, err := s.byEmail(ctx, normalEmail(email))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Account{}, err
	}
	hash := row.PasswordHash
	if err != nil {
		hash = unusedHash() // an unknown address takes as long as a wrong password
	}
	var ok bool
	var bad error
	if err := s.hash(ctx, func() { ok, bad = password.Matches(hash, secret) }); err != nil {
		return Account{}, err
	}
	switch {
	case bad != nil:
		return Account{}, bad
	case !ok || err != nil:
		return Account{}, ErrWrongLogin
	}
	return Account{visible(row), row.Plan}, nil
}

// Exists asks the database, without a cache, whether a user exists. It returns nil or
// store.ErrNotFound.
func (s *Shop) Exists(ctx context.Context, id int64) error {
	_, err := s.store.User(ctx, id)
	return err
}

// AccountKey returns the key of an account for the login limiter. It is a hash, so that keys
// contain no addresses.
func AccountKey(email string) string {
	sum := sha256.Sum256([]byte(normalEmail(email)))
	return hex.EncodeToString(sum[:16])
}

// unusedHash is the hash of a password that no user has.
var unusedHash = sync.OnceValue(func() string { return password.Hash("unused") })

// hash runs work when a processor is free, because one hash takes 19 MiB and a whole processor.
func (s *Shop) hash(ctx context.Context, work func()) error {
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.hashing }()
	work()
	return nil
}
