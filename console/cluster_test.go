package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// In a cluster the pages have the keys of all shards, the page Server has each primary, and repairs
// reach the shard of their key.
func TestPagesOfACluster(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	cluster := rig.SharedCluster(t)
	client := open(t, cluster.URL(), rig.Prefix(t))
	names := []string{"invoice:1", "invoice:2", "invoice:3", "invoice:4", "invoice:5", "invoice:6"}
	for _, name := range names {
		hold(t, client, name)
		fill(t, client, "users", name)
		charge(t, client, "api", name, 2)
	}
	die(t, client, "shop", "mailer", names...)
	logIn(t, client, "web", "ada", 2)
	s := serve(t, client, console.Options{})

	for _, node := range cluster.Primaries() {
		s.examined("/server", node.Addr())
	}
	s.examined("/server", "PING p99").expect(t, "server", "<dt>Mode</dt><dd>cluster</dd>")
	s.examined("/", "Examined at ").expect(t, "overview", "All nodes answer.")
	s.get("/locks").expect(t, "locks", names...)
	s.get("/caches").expect(t, "caches", "users")
	s.get("/limits"+query("limiter", "api")).expect(t, "keys", names...)
	s.get("/sessions"+query("manager", "web", "user", "ada")).expect(t, "sessions", "192.0.2.7")
	group := "/events" + query("bus", "shop", "group", "mailer")
	if got := s.get(group); strings.Count(got.body, "cause ") != len(names) {
		t.Errorf("the page has %d dead letters, want %d:\n%s", strings.Count(got.body, "cause "), len(names), got.body)
	}

	for _, name := range names {
		s.get("/caches"+query("cache", "users", "key", name)).expect(t, "explain", "Hit: a read serves")
		s.get("/limits"+query("limiter", "api", "key", name)).expect(t, "limit", "The next request is refused")
		for path, form := range map[string][]string{
			"/locks/break":   {"name", name},
			"/caches/delete": {"cache", "users", "key", name},
			"/limits/reset":  {"limiter", "api", "key", name},
		} {
			if got := s.post(path, sealed(form...)); got.StatusCode != http.StatusSeeOther {
				t.Errorf("POST %s of %s has status %d: %s", path, name, got.StatusCode, got.body)
			}
		}
		s.get("/caches"+query("cache", "users", "key", name)).expect(t, "explain", "Miss: a read loads")
		s.get("/limits"+query("limiter", "api", "key", name)).expect(t, "limit", "The next request is allowed")
	}
	s.get("/locks").expect(t, "locks", "No lock is held")
	if got := s.post("/events/drop-all", sealed("bus", "shop", "group", "mailer")); got.StatusCode != http.StatusSeeOther {
		t.Errorf("to drop all dead letters has status %d: %s", got.StatusCode, got.body)
	}
	s.get(group).expect(t, "group", "This group has no dead letters.")
}
