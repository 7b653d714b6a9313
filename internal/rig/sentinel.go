package rig

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Sentinel is a primary with two replicas and three sentinels. The sentinels watch them under the
// name mymaster, and consider a primary down after 1 s.
type Sentinel struct {
	t         testing.TB // nil: shared, no faults
	servers   []*Server
	sentinels []*Server
}

// MasterName is the name of the primary in the sentinels.
const MasterName = "mymaster"

// SharedSentinel returns the Sentinel of this test process, which starts on first use.
func SharedSentinel(t testing.TB) *Sentinel {
	t.Helper()
	Need(t, TierAll)
	return process.sentinel.get(t, func() (*Sentinel, error) { return startSentinel(nil, nil) })
}

// NewSentinel starts a Sentinel for this test, which ends with the test. The args are for the data
// servers.
func NewSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	Need(t, TierAll)
	s, err := startSentinel(t, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// NewSentinelTLS is [NewSentinel] with servers and sentinels that accept only TLS. [Server.TLS] of
// each returns the files that all share.
func NewSentinelTLS(t testing.TB) *Sentinel {
	t.Helper()
	Need(t, TierAll)
	files, err := sharedTLSFiles()
	if err != nil {
		t.Fatal(err)
	}
	s, err := startSentinel(t, files)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const sentinelConfig = `port {port}
bind 127.0.0.1
protected-mode no
daemonize no
sentinel myid %s
sentinel monitor mymaster 127.0.0.1 %d 2
sentinel down-after-milliseconds mymaster 1000
sentinel failover-timeout mymaster 2000
sentinel parallel-syncs mymaster 2
`

// startSentinel writes the other sentinels into the configuration of each sentinel. Otherwise they
// find each other after 2 s. With files, all servers use TLS.
func startSentinel(t testing.TB, files *TLSFiles, args ...string) (*Sentinel, error) {
	s := &Sentinel{t: t}
	with := func(config string) string {
		if files == nil {
			return config
		}
		return tlsOnly(config, files)
	}
	for i := range 3 {
		config := baseConfig + "port {port}\n"
		if i > 0 {
			// Not an argument: on each restart, it would override the role that the sentinels have
			// written into the file. A promoted server would become a replica of its replica.
			config += fmt.Sprintf("replicaof 127.0.0.1 %d\n", s.servers[0].Port())
		}
		server, err := newServer(t, fmt.Sprintf("sentinel-data-%d", i), "redis-server", with(config), args...)
		if err != nil {
			return nil, err
		}
		server.tls = files
		s.servers = append(s.servers, server)
	}
	for i := range 3 {
		id := nodeID()
		config := with(fmt.Sprintf(sentinelConfig, id, s.servers[0].Port()))
		server, err := newServer(t, fmt.Sprintf("sentinel-%d", i), "redis-server", config, "--sentinel")
		if err != nil {
			return nil, err
		}
		server.id, server.tls = id, files
		s.sentinels = append(s.sentinels, server)
	}
	for _, sentinel := range s.sentinels {
		if err := s.introduce(sentinel); err != nil {
			return nil, err
		}
	}
	// The order matters: a replica that finds no primary tries again after 1 s, and a sentinel
	// that finds no replicas asks again after 10 s.
	if err := s.servers[0].first(); err != nil {
		return nil, err
	}
	if err := startAll(s.servers[1:]); err != nil {
		return nil, err
	}
	if !poll(startTimeout, func() bool { return s.replicasOnline(2) }) {
		return nil, fmt.Errorf("rig: replicas are not online after %v", startTimeout)
	}
	if err := startAll(s.sentinels); err != nil {
		return nil, err
	}
	if !poll(startTimeout, s.complete) {
		return nil, fmt.Errorf("rig: sentinels have not found each other after %v:\n%s", startTimeout, tail(s.sentinels[0].Log(), 15))
	}
	return s, nil
}

// introduce adds the other sentinels to the configuration of a sentinel.
func (s *Sentinel) introduce(sentinel *Server) error {
	f, err := os.OpenFile(filepath.Join(sentinel.dir, configFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, other := range s.sentinels {
		if other == sentinel {
			continue
		}
		if _, err := fmt.Fprintf(f, "sentinel known-sentinel mymaster 127.0.0.1 %d %s\n", other.Port(), other.id); err != nil {
			return err
		}
	}
	return nil
}

// URL returns a URL that names the three sentinels.
func (s *Sentinel) URL() string {
	addrs := make([]string, len(s.sentinels))
	for i, server := range s.sentinels {
		addrs[i] = server.Addr()
	}
	scheme := "redis"
	if s.servers[0].tls != nil {
		scheme = "rediss"
	}
	return scheme + "+sentinel://" + strings.Join(addrs, ",") + "/" + MasterName + "/0"
}

// Servers returns the data servers.
func (s *Sentinel) Servers() []*Server { return s.servers }

// Sentinels returns the sentinel processes.
func (s *Sentinel) Sentinels() []*Server { return s.sentinels }

// Primary returns the server that most running sentinels name and that reports the role primary. It
// returns nil while there is no such server, for example during a failover.
func (s *Sentinel) Primary() *Server {
	votes := map[string]int{}
	for _, sentinel := range s.sentinels {
		if addr, ok := sentinel.masterAddr(); ok {
			votes[addr]++
		}
	}
	for _, server := range s.servers {
		if votes[server.Addr()] >= 2 && server.isPrimary() {
			return server
		}
	}
	return nil
}

// Failover asks the sentinels to promote a replica of the running primary. It waits until they
// agree and returns the new primary.
func (s *Sentinel) Failover() *Server {
	if s.t == nil {
		panic("rig: the sentinels are shared by all tests of this process: a test that needs a fault starts its own")
	}
	s.t.Helper()
	old := s.Primary()
	if old == nil {
		s.t.Fatal("rig: no primary to fail over from")
	}
	Eventually(s.t, 10*time.Second, "a sentinel accepts SENTINEL FAILOVER", func() bool {
		for _, sentinel := range s.sentinels {
			if sentinel.up() {
				_, err := sentinel.Do("SENTINEL", "FAILOVER", MasterName)
				return err == nil
			}
		}
		return false
	})
	return s.NextPrimary(old, 20*time.Second)
}

// NextPrimary waits until the sentinels agree on another primary than old, for example after
// old.Kill or old.Stop.
func (s *Sentinel) NextPrimary(old *Server, within time.Duration) *Server {
	s.t.Helper()
	var next *Server
	Eventually(s.t, within, "the sentinels agree on another primary", func() bool {
		next = s.Primary()
		return next != nil && next != old
	})
	return next
}

// complete reports whether each sentinel knows both replicas and both other sentinels.
func (s *Sentinel) complete() bool {
	for _, sentinel := range s.sentinels {
		reply, err := sentinel.do(time.Second, "INFO", "sentinel")
		if err != nil || !strings.Contains(text(reply), "status=ok") ||
			!strings.Contains(text(reply), "slaves=2,sentinels=3") {
			return false
		}
	}
	return s.Primary() != nil
}

func (s *Sentinel) replicasOnline(n int) bool {
	reply, err := s.servers[0].do(time.Second, "INFO", "replication")
	return err == nil && strings.Count(text(reply), "state=online") >= n
}

func (s *Server) masterAddr() (string, bool) {
	if !s.up() {
		return "", false
	}
	reply, err := s.do(time.Second, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
	list, ok := reply.([]any)
	if err != nil || !ok || len(list) != 2 {
		return "", false
	}
	return net.JoinHostPort(text(list[0]), text(list[1])), true
}

func (s *Server) isPrimary() bool {
	if !s.up() {
		return false
	}
	reply, err := s.do(time.Second, "ROLE")
	list, ok := reply.([]any)
	return err == nil && ok && len(list) > 0 && list[0] == "master"
}
