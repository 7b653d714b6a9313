package shop

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/service/internal/store"
)

// User is a user without the password hash, as the cache stores it. The caller decides who may see
// the name and the email.
type User struct {
	ID        int64     `json:"id"`
	Email     string    `json:"email,omitempty"`
	Name      string    `json:"name,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Spending has the totals of a user's orders.
type Spending struct {
	User       string `json:"user"`
	Orders     int64  `json:"orders"`
	TotalCents int64  `json:"total_cents"`
}

// The keys of the caches. Data that is derived from a user has the key of the user as its prefix.
func userKey(id int64) string          { return "user:" + strconv.FormatInt(id, 10) }
func userEmailKey(email string) string { return "user:email:" + email }
func userSpendingKey(id int64) string  { return userKey(id) + ":spending" }

// User returns a user and its source, or store.ErrNotFound.
func (s *Shop) User(ctx context.Context, id int64) (User, Source, error) {
	return read(ctx, s, s.users, userKey(id), func(ctx context.Context) (User, error) {
		row, err := s.store.User(ctx, id)
		return visible(row), err
	})
}

// UserByEmail returns the user with this address and its source, or store.ErrNotFound.
func (s *Shop) UserByEmail(ctx context.Context, email string) (User, Source, error) {
	email = normalEmail(email)
	if checkEmail(email) != nil {
		return User{}, FromDatabase, store.ErrNotFound
	}
	return read(ctx, s, s.users, userEmailKey(email), func(ctx context.Context) (User, error) {
		row, err := s.byEmail(ctx, email)
		return visible(row), err
	})
}

// byEmail asks the database for a user. It does not search for an invalid address: PostgreSQL
// returns an error for a zero byte and for invalid UTF-8, where SQLite finds no row.
func (s *Shop) byEmail(ctx context.Context, email string) (store.User, error) {
	if checkEmail(email) != nil {
		return store.User{}, store.ErrNotFound
	}
	return s.store.UserByEmail(ctx, email)
}

// Spending returns the totals of a user's orders, or store.ErrNotFound.
func (s *Shop) Spending(ctx context.Context, id int64) (Spending, Source, error) {
	return read(ctx, s, s.spending, userSpendingKey(id), func(ctx context.Context) (Spending, error) {
		row, err := s.store.User(ctx, id)
		if err != nil {
			return Spending{}, err
		}
		sums, err := s.store.SpendingOf(ctx, id)
		return Spending{User: row.Name, Orders: sums.Orders, TotalCents: sums.TotalCents}, err
	})
}

// UpdateUser changes a user and returns the new state. Errors: *Invalid, store.ErrNotFound,
// store.ErrEmailTaken.
func (s *Shop) UpdateUser(ctx context.Context, id int64, change UserChange) (User, error) {
	change, err := change.checked()
	if err != nil {
		return User{}, err
	}
	before, after, err := s.store.UpdateUser(ctx, id, store.UserChange(change))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEmailTaken) {
		return User{}, err
	}
	// After any other error the change may be committed, so the cache is invalidated too. Both
	// addresses are invalidated: the old address has no user now, and the cache may remember that
	// the new address had none.
	err = errors.Join(err, s.invalidate(ctx, id, before.Email, after.Email))
	return visible(after), err
}

// DeleteUser deletes a user with all orders and logs the user out everywhere, or returns
// store.ErrNotFound.
func (s *Shop) DeleteUser(ctx context.Context, id int64) error {
	row, err := s.store.DeleteUser(ctx, id)
	// Also without a row: the first attempt may have deleted the row without reaching the cache.
	err = errors.Join(err, s.invalidate(ctx, id, row.Email))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err // the user stays logged in and can try again
	}
	_, ended := s.Sessions.RevokeUser(context.WithoutCancel(ctx), SessionUser(id))
	return errors.Join(err, ended)
}

// invalidate deletes the user, and data that is derived from the user, from the caches of all
// instances. It ignores the end of the request, because the database has changed. The command
// timeout of the client bounds it.
func (s *Shop) invalidate(ctx context.Context, id int64, emails ...string) error {
	ctx = context.WithoutCancel(ctx)
	keys := []string{userKey(id)}
	for _, email := range emails {
		keys = append(keys, userEmailKey(email))
	}
	return errors.Join(
		s.users.Delete(ctx, keys...),
		s.spending.Delete(ctx, userSpendingKey(id)),
	)
}

// Source is where a value came from.
type Source string

// The sources of a value.
const (
	FromNear     Source = "near"  // the memory of this process
	FromCache    Source = "cache" // Redis
	FromStale    Source = "stale" // Redis, while the database reloads the value
	FromDatabase Source = "database"
)

// Label is the name of the source on the page: "served from …".
func (s Source) Label() string {
	switch s {
	case FromNear:
		return "memory (near cache)"
	case FromCache:
		return "Redis"
	case FromStale:
		return "Redis (stale value)"
	}
	return "the database"
}

var sources = map[cache.Source]Source{
	cache.FromNear: FromNear, cache.FromServer: FromCache, cache.FromStale: FromStale, cache.FromLoader: FromDatabase,
}

// read is cache-aside for all reads of the shop. The cache also remembers that a row does not
// exist.
func read[V any](ctx context.Context, s *Shop, through *cache.Cache[V], key string,
	load func(context.Context) (V, error)) (V, Source, error) {
	if s.uncached {
		value, err := load(ctx)
		return value, FromDatabase, err
	}
	var from cache.Source
	value, err := through.GetOrLoad(ctx, key, func(ctx context.Context, _ string) (V, error) {
		value, err := load(ctx)
		if errors.Is(err, store.ErrNotFound) {
			err = cache.ErrNotFound
		}
		return value, err
	}, cache.From(&from))
	if errors.Is(err, cache.ErrNotFound) {
		err = store.ErrNotFound
	}
	return value, sources[from], err
}

func visible(row store.User) User {
	return User{ID: row.ID, Email: row.Email, Name: row.Name, CreatedAt: row.CreatedAt}
}
