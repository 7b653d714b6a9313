package shop

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/service/internal/store"
)

// User is a user without the password hash, as the cache holds it. Who may see the name and the address is for its reader to decide.
type User struct {
	ID        int64     `json:"id"`
	Email     string    `json:"email,omitempty"`
	Name      string    `json:"name,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Spending is a user's orders summed up.
type Spending struct {
	User       string `json:"user"`
	Orders     int64  `json:"orders"`
	TotalCents int64  `json:"total_cents"`
}

// The cache's keys. What is derived from a user lies under the user's own key.
func userKey(id int64) string          { return "user:" + strconv.FormatInt(id, 10) }
func userEmailKey(email string) string { return "user:email:" + email }
func userSpendingKey(id int64) string  { return userKey(id) + ":spending" }

// User returns a user and where the answer came from, or store.ErrNotFound.
func (s *Shop) User(ctx context.Context, id int64) (User, Source, error) {
	return read(ctx, s, s.users, userKey(id), func(ctx context.Context) (User, error) {
		row, err := s.store.User(ctx, id)
		return visible(row), err
	})
}

// UserByEmail returns the user with this address and where the answer came from, or store.ErrNotFound.
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

// byEmail asks the database for a user. What is no address belongs to nobody, and is not asked for: PostgreSQL fails on a zero byte
// and on what is not UTF-8, where SQLite finds nothing.
func (s *Shop) byEmail(ctx context.Context, email string) (store.User, error) {
	if checkEmail(email) != nil {
		return store.User{}, store.ErrNotFound
	}
	return s.store.UserByEmail(ctx, email)
}

// Spending sums up a user's orders, or returns store.ErrNotFound.
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

// UpdateUser changes a user and returns him as he is now. Errors: *Invalid, store.ErrNotFound, store.ErrEmailTaken.
func (s *Shop) UpdateUser(ctx context.Context, id int64, change UserChange) (User, error) {
	change, err := change.checked()
	if err != nil {
		return User{}, err
	}
	before, after, err := s.store.UpdateUser(ctx, id, store.UserChange(change))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEmailTaken) {
		return User{}, err
	}
	// Any other error leaves open whether the change was committed: what was cached is forgotten all the same.
	// Both addresses: the old one has no user any more, the new one may be remembered as having none.
	err = errors.Join(err, s.forget(ctx, id, before.Email, after.Email))
	return visible(after), err
}

// DeleteUser removes a user with his orders, and logs him out everywhere, or returns store.ErrNotFound.
func (s *Shop) DeleteUser(ctx context.Context, id int64) error {
	row, err := s.store.DeleteUser(ctx, id)
	// Even without a row: when the first attempt deleted it but could not reach the cache, the second mends that.
	err = errors.Join(err, s.forget(ctx, id, row.Email))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err // who could not finish stays logged in, so that he can try again
	}
	_, ended := s.Sessions.RevokeUser(context.WithoutCancel(ctx), SessionUser(id))
	return errors.Join(err, ended)
}

// forget makes every instance load the user, and what is derived from him, anew. The request that made the change may be
// cancelled by now; its change is made, so this runs regardless. The client's command timeout bounds it.
func (s *Shop) forget(ctx context.Context, id int64, emails ...string) error {
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

// Source says where an answer came from.
type Source string

// Where an answer can come from.
const (
	FromNear     Source = "near"  // this process' memory
	FromCache    Source = "cache" // Redis
	FromStale    Source = "stale" // Redis, while the database is asked again
	FromDatabase Source = "database"
)

var sources = map[cache.Source]Source{
	cache.FromNear: FromNear, cache.FromServer: FromCache, cache.FromStale: FromStale, cache.FromLoader: FromDatabase,
}

// read is cache-aside as every read here uses it: a row that does not exist is remembered as that.
func read[V any](ctx context.Context, s *Shop, through *cache.Cache[V], key string, load func(context.Context) (V, error)) (V, Source, error) {
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
