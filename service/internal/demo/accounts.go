package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/redstart-go/redstart/service/internal/password"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

// The users of the demo. They are not the visitor, so their orders and limits are not the
// visitor's.
const (
	freeEmail  = "traffic-free@example.com"
	proEmail   = "traffic-pro@example.com"
	storyEmail = "katherine@example.com"
	storyName  = "Katherine Johnson"
)

// accounts adds the users of the demo to the database when they are first needed, and logs them in.
type accounts struct {
	shop *shop.Shop
	db   *store.Store

	// unknown returns the hash of a random password, so that no visitor can log in as these users.
	unknown func() string
}

func newAccounts(service *shop.Shop, db *store.Store) *accounts {
	return &accounts{shop: service, db: db, unknown: sync.OnceValue(func() string { return password.Hash(rand.Text()) })}
}

// user returns the user with this address, and adds it if the database does not have it.
func (a *accounts) user(ctx context.Context, email, name, plan string) (store.User, error) {
	row, err := a.db.UserByEmail(ctx, email)
	if !errors.Is(err, store.ErrNotFound) {
		return row, err
	}
	row, err = a.db.AddUser(ctx, store.User{Email: email, Name: name, PasswordHash: a.unknown(), Plan: plan, CreatedAt: time.Now()})
	if errors.Is(err, store.ErrEmailTaken) { // another instance has added it
		return a.db.UserByEmail(ctx, email)
	}
	return row, err
}

// logIn returns a session cookie of the user of each plan.
func (a *accounts) logIn(ctx context.Context) ([]*http.Cookie, error) {
	var cookies []*http.Cookie
	for _, u := range []struct{ email, name, plan string }{
		{freeEmail, "Virtual users, free", store.PlanFree}, {proEmail, "Virtual users, pro", store.PlanPro},
	} {
		row, err := a.user(ctx, u.email, u.name, u.plan)
		if err != nil {
			return nil, fmt.Errorf("demo: add the user %q: %w", u.email, err)
		}
		current, err := a.shop.Sessions.Create(ctx, shop.SessionUser(row.ID), shop.Visit{Plan: u.plan})
		if err != nil {
			return nil, fmt.Errorf("demo: log in %q: %w", u.email, err)
		}
		cookies = append(cookies, a.shop.Sessions.Cookie(current))
	}
	return cookies, nil
}
