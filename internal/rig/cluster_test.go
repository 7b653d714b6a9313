package rig_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestSlot(t *testing.T) {
	t.Parallel()
	s := rig.SharedCluster(t).Nodes()[0]
	for _, key := range []string{"", "a", "123456789", "x{tag}y", "x{}y", "{tag", "}{t}", "x{{a}}y"} {
		if got, want := rig.Slot(key), s.CLI("CLUSTER", "KEYSLOT", key); want != strconv.Itoa(got) {
			t.Errorf("Slot(%q) = %d, the server says %s", key, got, want)
		}
	}
}

func TestClusterServesEverySlot(t *testing.T) {
	t.Parallel()
	c := rig.SharedCluster(t)
	if len(c.Nodes()) != 6 || len(c.Primaries()) != 3 {
		t.Fatalf("%d nodes, %d primaries", len(c.Nodes()), len(c.Primaries()))
	}
	if strings.Count(c.URL(), ":") != 7 || !strings.HasPrefix(c.URL(), "redis+cluster://127.0.0.1:") {
		t.Fatalf("URL = %s", c.URL())
	}
	prefix := rig.Prefix(t)
	for _, key := range []string{prefix + "a", prefix + "b", prefix + "c", prefix + "d", prefix + "e"} {
		if got := c.Primary(key).CLI("SET", key, "v", "PX", "10000"); got != "OK" {
			t.Errorf("SET %s = %q", key, got)
		}
	}
}

func TestClusterFaults(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	c := rig.NewCluster(t)
	const key = "{k}1"
	old := c.Primary(key)
	conn := old.Conn(t)
	conn.CLI("SET", key, "v")
	if got := conn.CLI("WAIT", "1", "10000"); got != "1" {
		t.Fatalf("WAIT = %s", got)
	}

	next := c.Failover(old)
	if next == old || c.Primary(key) != next || next.CLI("GET", key) != "v" {
		t.Fatalf("after Failover: %v, value %q", c.Primary(key), next.CLI("GET", key))
	}
	if !slices.Contains(c.Replicas(next), old) {
		t.Fatal("the old primary does not replicate the new one")
	}

	next.Kill()
	rig.Eventually(t, 15*time.Second, "the replica takes over automatically", func() bool {
		p := c.Primary(key)
		return p != nil && p != next && c.Healthy()
	})
	if got := c.Primary(key).CLI("GET", key); got != "v" {
		t.Fatalf("after a kill: %q", got)
	}
	next.Restart()
	rig.Eventually(t, 15*time.Second, "the killed node comes back as a replica", func() bool {
		return slices.Contains(c.Replicas(c.Primary(key)), next) && c.Healthy()
	})

	primary := c.Primary(key)
	primary.Stop()
	if taken := c.Failover(primary); taken == primary || c.Primary(key) != taken {
		t.Fatal("no takeover from a frozen primary")
	}
	primary.Continue()
}

func TestClusterMigrateSlot(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	c := rig.NewCluster(t, rig.NoReplicas())
	const here, gone = "{k}here", "{k}gone"
	slot := rig.Slot(here)
	from := c.Primary(here)
	to := c.Primaries()[0]
	if to == from {
		to = c.Primaries()[1]
	}
	from.CLI("SET", here, "v")
	from.CLI("SET", gone, "v")

	m := c.MigrateSlot(slot, from, to).Move(gone)
	if got := from.CLI("GET", here); got != "v" {
		t.Errorf("a key that has not moved: %q", got)
	}
	if got := from.CLI("GET", gone); !strings.HasPrefix(got, "(error) ASK ") {
		t.Errorf("a key that has moved: %q", got)
	}
	if got := from.CLI("MGET", here, gone); !strings.HasPrefix(got, "(error) TRYAGAIN ") {
		t.Errorf("a key that has and one that has not: %q", got)
	}
	m.Finish()
	if got := from.CLI("GET", here); !strings.HasPrefix(got, "(error) MOVED ") {
		t.Errorf("the old owner afterwards: %q", got)
	}
	if got := to.CLI("GET", here); got != "v" || c.Primary(here) != to {
		t.Errorf("the new owner afterwards: %q", got)
	}

	m = c.MigrateSlot(slot, to, from)
	m.Abort()
	if got := to.CLI("GET", "{k}none"); got != "" || c.Primary(here) != to {
		t.Errorf("after Abort: %q", got)
	}
}
