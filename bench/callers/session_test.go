package callers_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

const users = 256

// account is the data of a session, about 150 bytes.
type account struct {
	Name, Theme string
	Cart        []string
}

var ada = account{Name: "Ada Lovelace", Theme: "dark",
	Cart: []string{"a punched card", "a second one", "a difference engine, used"}}

func sessionLoad(b *testing.B, p place, _ callers.Case) operation {
	manager, err := session.New[account](p.client(b), "bench", session.Options{})
	if err != nil {
		b.Fatal(err)
	}
	tokens := make([]string, users)
	for i := range tokens {
		s, err := manager.Create(b.Context(), "user "+strconv.Itoa(i), ada)
		if err != nil {
			b.Fatal(err)
		}
		tokens[i] = s.Token()
	}
	return func(_ int, i int64, _ func() bool) error {
		s, err := manager.Load(b.Context(), tokens[i%users])
		if err != nil {
			return err
		}
		if data, err := s.Data(b.Context()); err != nil || data.Theme != "dark" {
			return errors.Join(err, errors.New("another session"))
		}
		return nil
	}
}

func rivalLoad(b *testing.B, p place, _ callers.Case) operation {
	manager := scs.New()
	manager.Store = store{p.goredis(b), rig.Prefix(b)}
	tokens := make([]string, users)
	for i := range tokens {
		ctx, err := manager.Load(b.Context(), "")
		if err != nil {
			b.Fatal(err)
		}
		manager.Put(ctx, "user", "user "+strconv.Itoa(i))
		manager.Put(ctx, "name", ada.Name)
		manager.Put(ctx, "theme", ada.Theme)
		manager.Put(ctx, "cart", strings.Join(ada.Cart, ","))
		if tokens[i], _, err = manager.Commit(ctx); err != nil {
			b.Fatal(err)
		}
	}
	return func(_ int, i int64, _ func() bool) error {
		ctx, err := manager.Load(b.Context(), tokens[i%users])
		if err == nil && manager.GetString(ctx, "theme") != "dark" {
			return errors.New("another session")
		}
		return err
	}
}

// store is the usual store of scs on Redis: GET, SET with expiry, DEL.
type store struct {
	client redis.UniversalClient
	prefix string
}

func (s store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, err := s.client.Get(ctx, s.prefix+token).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.client.Set(ctx, s.prefix+token, data, time.Until(expiry)).Err()
}

func (s store) DeleteCtx(ctx context.Context, token string) error {
	return s.client.Del(ctx, s.prefix+token).Err()
}

func (s store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}
func (s store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
func (s store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}
