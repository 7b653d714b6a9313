// Package shop is what the shop does, and where it uses Redstart's patterns.
//
// The rule for cached data: the database is the truth; a write goes to the database first and then makes every
// cache forget, whatever happened in between.
package shop

import (
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/service/internal/store"
)

// Shop is safe for concurrent use.
type Shop struct {
	store    *store.Store
	users    *cache.Cache[User]
	spending *cache.Cache[Spending]
}

// New returns a shop on this database whose caches live on this client.
func New(client *redstart.Client, db *store.Store) (*Shop, error) {
	users, err := cache.New[User](client, "users", cache.Options{
		TTL:         5 * time.Minute,
		NegativeTTL: 10 * time.Second, // who tries out ids costs one query per id, not one per try
		LoadTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	spending, err := cache.New[Spending](client, "spending", cache.Options{TTL: time.Minute, LoadTimeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	return &Shop{store: db, users: users, spending: spending}, nil
}
