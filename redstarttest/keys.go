package redstarttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
)

const (
	maxNamed = 20  // keys in one error
	scanStep = 512 // keys in one step of a scan
)

// RequireNoKeysWithoutTTL fails the test if the namespace has keys that never expire, and names
// them. except has beginnings of names, after the namespace, that may stay: "events:" for the
// streams and groups of durable buses, which have no TTL.
func (s *Server) RequireNoKeysWithoutTTL(except ...string) {
	s.t.Helper()
	ctx, cancel := s.within()
	defer cancel()
	var found []string
	err := s.past().Scan(ctx, s.pattern(), scanStep, func(keys []string) error {
		commands := make([]core.Command, len(keys))
		for i, key := range keys {
			commands[i] = core.Read("PTTL", key)
		}
		for i, r := range s.past().DoMulti(ctx, commands...) {
			reply, err := r.Get()
			if err != nil {
				return err
			}
			if ttl, err := reply.AsInt64(); err != nil {
				return err
			} else if ttl == -1 && !s.excepted(keys[i], except) {
				found = append(found, keys[i])
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("redstarttest: require no keys without TTL: %v", err)
	}
	if len(found) == 0 {
		return
	}
	slices.Sort(found)
	found = slices.Compact(found) // a scan may return a key twice
	more := ""
	if len(found) > maxNamed {
		more, found = fmt.Sprintf(" and %d more", len(found)-maxNamed), found[:maxNamed]
	}
	s.t.Errorf("redstarttest: require no keys without TTL: %q%s never expire: set a TTL, or except them", found, more)
}

func (s *Server) excepted(key string, except []string) bool {
	name := strings.TrimPrefix(key, s.cfg.Namespace+":")
	return slices.ContainsFunc(except, func(begin string) bool { return strings.HasPrefix(name, begin) })
}

// pattern matches all keys of the namespace.
func (s *Server) pattern() string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s.cfg.Namespace) + ":*"
}

// end runs at the end of the test, after the clients have closed.
func (s *Server) end() {
	s.unused()
	if s.engine != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience) // the context of the test has ended
	defer cancel()
	if err := s.erase(ctx); err != nil {
		s.t.Errorf("redstarttest: end: the keys of namespace %q are not deleted: %v", s.cfg.Namespace, err)
	}
}

// erase deletes all keys of the namespace.
func (s *Server) erase(ctx context.Context) (failed error) {
	client, err := redstart.Open(ctx, s.upstream)
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, client.Close()) }()
	c := clientcore.Of(client)
	return c.Scan(ctx, s.pattern(), scanStep, func(keys []string) error {
		commands := make([]core.Command, len(keys))
		for i, key := range keys {
			commands[i] = core.Write("UNLINK", key)
		}
		for _, r := range c.DoMulti(ctx, commands...) {
			if _, err := r.Get(); err != nil {
				return err
			}
		}
		return nil
	})
}
