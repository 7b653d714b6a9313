package cache_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

// A server evicts keys that were not used lately. Generations of used entries stay, although this
// process reads them from its memory.
func TestC6_GenerationsInUseAreNotEvicted(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	server.CLI("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	c := on(t, dial(t, server.URL(), "app"), cache.Options{})
	rig.Arm(t, c.Points(), "touch", failpoint.Lasts(time.Second))
	if err := c.Set(ctx, "1", before, cache.Tags("tag")); err != nil {
		t.Fatal(err)
	}
	records := []string{"app:cache:users:{%}:clear", "app:cache:users:{tag}:tag"}
	idle := func(key string) int {
		n, err := strconv.Atoi(server.CLI("OBJECT", "IDLETIME", key))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	rig.Eventually(t, 20*time.Second, "the generations look unused",
		func() bool { return idle(records[0]) >= 2 && idle(records[1]) >= 2 })
	rig.Eventually(t, 20*time.Second, "they look used, when their entry is read from the server", func() bool {
		if v, err := c.Get(ctx, "1"); err != nil || v != before {
			t.Fatal(v, err)
		}
		return idle(records[0]) < 2 && idle(records[1]) < 2
	})
	if v, err := c.Get(ctx, "1"); err != nil || v != before {
		t.Errorf("%v, %v: a touch has ended the entry", v, err)
	}
	if s := c.Stats(); s.Invalidated != 0 {
		t.Errorf("%+v", s)
	}
}
