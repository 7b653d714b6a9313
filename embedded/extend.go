package embedded

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2/server"
)

// version is what INFO reports: the oldest Redis that Redstart supports, so that
// no client chooses a newer command here.
const version = "7.0.0"

// Missing names what this server lacks compared to Redis 7.0, as INFO's
// redstart_missing does:
//
//   - tracking: CLIENT TRACKING, so no near cache
//   - sharded-pubsub: SSUBSCRIBE (SPUBLISH delivers to SUBSCRIBE)
//   - mixed-pubsub: other commands on a connection that has subscribed are refused,
//     in RESP3 too; and a subscriber that does not read blocks the whole server
//   - persistence, replication: AOF, RDB, replicas, WAIT, failover
//   - cluster: more than one node
//   - acl: users and rights
//   - client-admin: CLIENT LIST, KILL, PAUSE, UNBLOCK, INFO
//   - config: CONFIG, SLOWLOG, LATENCY, MONITOR, DEBUG; a memory limit, eviction
//   - functions: FUNCTION, FCALL; scripts lack bit, struct and cmsgpack
//   - keyspace-events: notifications of writes and expiry
//   - scan-paging: SCAN ignores COUNT and returns everything at once
//   - version-7.2: commands and options added after Redis 7.0
func Missing() []string {
	return []string{
		"tracking", "sharded-pubsub", "mixed-pubsub", "persistence", "replication", "cluster", "acl", "client-admin", "config",
		"functions", "keyspace-events", "scan-paging", "version-7.2",
	}
}

// peers are the connections, by the engine's handle.
type peers struct {
	known sync.Map // *server.Peer → *peer
	ids   atomic.Int64
}

type peer struct {
	id    int
	multi bool // between MULTI and EXEC; used by the connection's goroutine alone
}

// of finds a connection's state; nil for a command inside a script, which comes
// with a handle made for it. A connection's handle is met first before its first
// command has run, when the engine has attached nothing to it yet; a script's
// never is without.
func (p *peers) of(c *server.Peer) *peer {
	if known, ok := p.known.Load(c); ok {
		return known.(*peer)
	}
	if c.Ctx != nil {
		return nil
	}
	state := &peer{id: int(p.ids.Add(1))}
	p.known.Store(c, state)
	c.OnDisconnect(func() { p.known.Delete(c) })
	return state
}

// extend adds to the engine what it lacks and is cheap to have.
func (s *Server) extend() error {
	srv := s.engine.Server()
	srv.SetPreHook(s.before)
	err := srv.Register("SPUBLISH", func(c *server.Peer, _ string, args []string) {
		srv.Dispatch(c, append([]string{"PUBLISH"}, args...))
	})
	if err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	return nil
}

// before runs before every command and reports whether it has answered it.
func (s *Server) before(c *server.Peer, command string, args ...string) bool {
	p := s.peers.of(c)
	if p == nil {
		return false
	}
	s.clock.tick()
	switch command {
	case "MULTI":
		p.multi = true
	case "EXEC", "DISCARD":
		p.multi = false
	case "INFO":
		if !p.multi {
			c.WriteBulk(s.info(args))
			return true
		}
	case "CLIENT":
		return !p.multi && len(args) > 0 && client(c, p, strings.ToUpper(args[0]), args[1:])
	}
	return false
}

// client answers the CLIENT subcommands that clients send when they connect.
func client(c *server.Peer, p *peer, subcommand string, args []string) bool {
	switch {
	case subcommand == "ID" && len(args) == 0:
		c.WriteInt(p.id)
	case subcommand == "SETINFO" && len(args) == 2,
		subcommand == "NO-EVICT" && len(args) == 1,
		subcommand == "NO-TOUCH" && len(args) == 1:
		c.WriteOK()
	default:
		return false
	}
	return true
}

// info is the reply to INFO: all sections, or those that are named.
func (s *Server) info(names []string) string {
	sections := []struct{ name, fields string }{
		{"Server", fmt.Sprintf("redis_version:%s\r\nredis_mode:standalone\r\nredstart_embedded:1\r\nredstart_missing:%s\r\nredstart_clock_step_us:%d\r\n",
			version, strings.Join(Missing(), ","), s.clock.step.Load()/1000)},
		{"Clients", fmt.Sprintf("connected_clients:%d\r\n", s.engine.CurrentConnectionCount())},
		{"Memory", "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n"},
		{"Persistence", "loading:0\r\naof_enabled:0\r\n"},
		{"Stats", fmt.Sprintf("total_connections_received:%d\r\ntotal_commands_processed:%d\r\n",
			s.engine.TotalConnectionCount(), s.engine.CommandCount())},
		{"Replication", "role:master\r\nconnected_slaves:0\r\n"},
		{"Cluster", "cluster_enabled:0\r\n"},
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
