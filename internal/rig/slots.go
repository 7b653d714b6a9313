package rig

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// Slot returns the cluster slot of a key: CRC16 (XMODEM) of the key or of its hash tag. The source
// is https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, section "Hash
// tags".
func Slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}

// Migration is the move of one slot from one primary to another.
type Migration struct {
	c        *Cluster
	slot     int
	from, to *Server
}

// MigrateSlot begins to move a slot. Until Finish or Abort, from is MIGRATING and to is IMPORTING.
// from serves the keys that it still has, and replies ASK for others.
func (c *Cluster) MigrateSlot(slot int, from, to *Server) *Migration {
	t := c.owned()
	t.Helper()
	m := &Migration{c: c, slot: slot, from: from, to: to}
	m.run(t, to, "SETSLOT", "IMPORTING", from.id)
	m.run(t, from, "SETSLOT", "MIGRATING", to.id)
	return m
}

// Move moves the given keys of the slot, or all keys if none is given. A command with a moved key
// and one that has not moved gets TRYAGAIN.
func (m *Migration) Move(keys ...string) *Migration {
	t := m.c.owned()
	t.Helper()
	if len(keys) > 0 {
		m.move(t, keys)
		return m
	}
	for {
		keys := m.Keys()
		if len(keys) == 0 {
			return m
		}
		m.move(t, keys)
	}
}

// Keys returns up to 1000 keys of the slot that have not moved yet.
func (m *Migration) Keys() []string {
	reply, err := m.from.Do("CLUSTER", "GETKEYSINSLOT", strconv.Itoa(m.slot), "1000")
	if err != nil {
		m.c.owned().Fatalf("rig: keys of slot %d: %v", m.slot, err)
	}
	var keys []string
	for _, k := range reply.([]any) {
		keys = append(keys, k.(string))
	}
	return keys
}

// Finish moves the remaining keys, assigns the slot to its new owner and waits until all nodes
// agree.
func (m *Migration) Finish() {
	t := m.c.owned()
	t.Helper()
	m.Move()
	// The new owner comes first, so that the slot has an owner after a failure in between.
	m.run(t, m.to, "SETSLOT", "NODE", m.to.id)
	m.run(t, m.from, "SETSLOT", "NODE", m.to.id)
	for _, s := range m.c.Primaries() {
		if s != m.to && s != m.from {
			m.run(t, s, "SETSLOT", "NODE", m.to.id)
		}
	}
	Eventually(t, 10*time.Second, "the cluster is healthy after a slot move", func() bool {
		return m.c.Owner(m.slot) == m.to && m.c.Healthy()
	})
}

// Abort ends the migration. The slot stays with its owner. Moved keys do not return.
func (m *Migration) Abort() {
	t := m.c.owned()
	t.Helper()
	m.run(t, m.from, "SETSLOT", "STABLE", "")
	m.run(t, m.to, "SETSLOT", "STABLE", "")
}

func (m *Migration) run(t testing.TB, s *Server, command, state, id string) {
	t.Helper()
	args := []string{"CLUSTER", command, strconv.Itoa(m.slot), state}
	if id != "" {
		args = append(args, id)
	}
	if _, err := s.Do(args...); err != nil {
		t.Fatalf("rig: %s on %s: %v", strings.Join(args, " "), s.name, err)
	}
}

func (m *Migration) move(t testing.TB, keys []string) {
	t.Helper()
	args := append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(m.to.Port()), "", "0", "5000", "KEYS"}, keys...)
	if _, err := m.from.Do(args...); err != nil {
		t.Fatalf("rig: move keys of slot %d: %v", m.slot, err)
	}
}
