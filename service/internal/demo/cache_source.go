package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

// Person is the cached value of the cache story.
type Person struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// source is the database of the cache story. It counts and times its loads.
type source struct {
	accounts *accounts
	loads    atomic.Int64
	added    sync.Mutex // held while the user is added
	id       atomic.Int64
}

// person returns the id of the user of the story, and adds the user at the first call.
func (s *source) person(ctx context.Context) (int64, error) {
	if id := s.id.Load(); id != 0 {
		return id, nil
	}
	s.added.Lock()
	defer s.added.Unlock()
	row, err := s.accounts.user(ctx, storyEmail, storyName, store.PlanFree)
	if err == nil {
		s.id.Store(row.ID)
	}
	return row.ID, err
}

// span is the time of a load, if the call of the context loaded.
type span struct{ began, ended time.Time }

// timing is the context key of the *span that a load fills.
type timing struct{}

// load reads a person from the database. A key is an id, or an id, "#" and a text that makes the
// key new.
func (s *source) load(ctx context.Context, key string) (Person, error) {
	began := time.Now()
	s.loads.Add(1)
	id, _, _ := strings.Cut(key, "#")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return Person{}, fmt.Errorf("demo: load %q: the key has no id: %w", key, err)
	}
	row, err := s.accounts.db.User(ctx, n)
	if took, ok := ctx.Value(timing{}).(*span); ok {
		*took = span{began, time.Now()}
	}
	return Person{ID: row.ID, Name: row.Name}, err
}

// save changes the name in the database. The shop invalidates its own caches of the user. If that
// fails during an outage, the shop repeats it, and the change is saved all the same.
func (s *source) save(ctx context.Context, key, name string) error {
	id, err := strconv.ParseInt(key, 10, 64)
	if err != nil {
		return fmt.Errorf("demo: save %q: the key has no id: %w", key, err)
	}
	_, err = s.accounts.shop.UpdateUser(ctx, id, shop.UserChange{Name: &name})
	if err == nil {
		return nil
	}
	if row, readErr := s.accounts.db.User(ctx, id); readErr == nil && row.Name == strings.TrimSpace(name) {
		return nil
	}
	return err
}
