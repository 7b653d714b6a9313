package embedded

import (
	"fmt"
	"strings"
)

// version is the version in INFO and HELLO. It is the oldest Redis that Redstart supports, so that
// a client uses no newer command.
const version = "7.0.0"

// Missing returns what this server lacks compared with Redis 7.0. The field redstart_missing of
// INFO has the same list.
//
//   - persistence, replication: AOF, RDB, replicas, failover; WAIT answers 0
//   - cluster: more than one node
//   - acl: users and rights
//   - config: CONFIG, SLOWLOG, LATENCY, MONITOR, DEBUG; a memory limit, eviction
//   - functions: FUNCTION, FCALL; scripts lack bit, struct and cmsgpack
//   - keyspace-events: notifications of writes and expiry
//   - data-types: bitmaps, HyperLogLog, geo; DUMP, RESTORE, SORT, OBJECT
//   - version-7.2: commands and options that are newer than Redis 7.0.
func Missing() []string {
	return []string{"persistence", "replication", "cluster", "acl", "config", "functions", "keyspace-events", "data-types", "version-7.2"}
}

// info is INFO [section …].
func (s *Server) info(names []string) string {
	keyspaces := ""
	for _, space := range s.spaces {
		if len(space.keys) > 0 {
			keyspaces += fmt.Sprintf("db%d:keys=%d,expires=%d,avg_ttl=0\r\n", space.number, len(space.keys), len(space.expiring))
		}
	}
	sections := []struct{ name, fields string }{
		{"Server", fmt.Sprintf("redis_version:%s\r\nredis_mode:standalone\r\nredstart_embedded:1\r\nredstart_missing:%s\r\n",
			version, strings.Join(Missing(), ","))},
		{"Clients", fmt.Sprintf("connected_clients:%d\r\nblocked_clients:%d\r\ntracking_clients:%d\r\n",
			len(s.conns), s.count((*conn).blocks), s.count((*conn).tracks))},
		{"Memory", "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n"},
		{"Persistence", "loading:0\r\naof_enabled:0\r\n"},
		{"Stats", fmt.Sprintf("total_connections_received:%d\r\ntotal_commands_processed:%d\r\ntracking_total_keys:%d\r\n",
			s.total, s.commands, len(s.tracking.readers))},
		{"Replication", "role:master\r\nconnected_slaves:0\r\n"},
		{"Cluster", "cluster_enabled:0\r\n"},
		{"Keyspace", keyspaces},
	}
	all := len(names) == 0
	wanted := map[string]bool{}
	for _, name := range names {
		switch name = strings.ToLower(name); name {
		case "all", "default", "everything":
			all = true
		}
		wanted[name] = true
	}
	var text []string
	for _, section := range sections {
		if all || wanted[strings.ToLower(section.name)] {
			text = append(text, "# "+section.name+"\r\n"+section.fields)
		}
	}
	return strings.Join(text, "\r\n")
}

func (c *conn) blocks() bool { return c.waits != nil }
func (c *conn) tracks() bool { return c.tracked.on }

func (s *Server) count(has func(*conn) bool) (n int) {
	for c := range s.conns {
		if has(c) {
			n++
		}
	}
	return n
}
