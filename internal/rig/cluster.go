package rig

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Cluster is a Redis cluster of three primaries, each with one replica, or without replicas
// ([NoReplicas]). The node timeout is 1 s.
type Cluster struct {
	t     testing.TB // nil: shared, no faults
	nodes []*Server  // primaries of the start first, replica i+3 of primary i
}

// ClusterOption changes how a cluster starts.
type ClusterOption func(*clusterOptions)

type clusterOptions struct {
	replicas int
	args     []string
	tls      bool
}

// NoReplicas starts three primaries without replicas.
func NoReplicas() ClusterOption { return func(o *clusterOptions) { o.replicas = 0 } }

// NodeArgs adds redis.conf directives to each node, for example "--appendonly", "yes".
func NodeArgs(args ...string) ClusterOption {
	return func(o *clusterOptions) { o.args = append(o.args, args...) }
}

// OverTLS starts nodes that accept only TLS, also from each other. [Server.TLS] of each node
// returns the files that all nodes share.
func OverTLS() ClusterOption { return func(o *clusterOptions) { o.tls = true } }

// SharedCluster returns the cluster of this test process, which starts on first use. Parallel tests
// share it, each in its own [Prefix].
func SharedCluster(t testing.TB) *Cluster {
	t.Helper()
	Need(t, TierServer)
	return process.cluster.get(t, func() (*Cluster, error) { return startCluster(nil, clusterOptions{replicas: 3}) })
}

// NewCluster starts a cluster for this test. The cluster ends with the test.
func NewCluster(t testing.TB, options ...ClusterOption) *Cluster {
	t.Helper()
	Need(t, TierServer)
	o := clusterOptions{replicas: 3}
	for _, option := range options {
		option(&o)
	}
	c, err := startCluster(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const clusterConfig = baseConfig + `port {port}
cluster-config-file nodes.conf
cluster-node-timeout 1000
cluster-replica-validity-factor 0
cluster-announce-ip 127.0.0.1
`

const (
	shards = 3
	slots  = 16384
)

func firstSlot(shard int) int { return shard * slots / shards }

// startCluster writes the nodes.conf of each node, in the form that a running cluster leaves. So
// the nodes start as members: no CLUSTER MEET, and no slots to assign. The start still takes 2 s,
// because Redis refuses writes on a restarted primary for that time.
func startCluster(t testing.TB, o clusterOptions) (*Cluster, error) {
	c := &Cluster{t: t}
	config, files := clusterConfig, (*TLSFiles)(nil)
	if o.tls {
		var err error
		if files, err = sharedTLSFiles(); err != nil {
			return nil, err
		}
		config = tlsOnly(config, files) + "tls-cluster yes\n"
	}
	for i := range shards + o.replicas {
		args := append([]string{"--cluster-enabled", "yes"}, o.args...)
		s, err := newServer(t, fmt.Sprintf("cluster-%d", i), "redis-server", config, args...)
		if err != nil {
			return nil, err
		}
		s.id, s.tls = nodeID(), files
		c.nodes = append(c.nodes, s)
	}
	for i, s := range c.nodes {
		if err := os.WriteFile(filepath.Join(s.dir, "nodes.conf"), []byte(c.nodesConf(i)), 0o600); err != nil {
			return nil, err
		}
	}
	if err := startAll(c.nodes); err != nil {
		return nil, err
	}
	if !poll(startTimeout, c.Healthy) {
		return nil, fmt.Errorf("rig: cluster is not healthy after %v:\n%s", startTimeout, tail(c.nodes[0].Log(), 15))
	}
	return c, nil
}

func nodeID() string {
	var b [20]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// nodesConf returns the nodes.conf of node me.
func (c *Cluster) nodesConf(me int) string {
	var b strings.Builder
	for i, s := range c.nodes {
		flags, primary, slots := "master", "-", ""
		if i < shards {
			slots = fmt.Sprintf(" %d-%d", firstSlot(i), firstSlot(i+1)-1)
		} else {
			flags, primary = "slave", c.nodes[i-shards].id
		}
		if i == me {
			flags = "myself," + flags
		}
		fmt.Fprintf(&b, "%s 127.0.0.1:%d@%d %s %s 0 0 %d connected%s\n",
			s.id, s.Port(), s.bus.Number, flags, primary, i%shards+1, slots)
	}
	fmt.Fprintf(&b, "vars currentEpoch %d lastVoteEpoch 0\n", shards)
	return b.String()
}

// URL returns a URL that names all nodes.
func (c *Cluster) URL() string {
	addrs := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		addrs[i] = s.Addr()
	}
	scheme := "redis"
	if c.nodes[0].tls != nil {
		scheme = "rediss"
	}
	return scheme + "+cluster://" + strings.Join(addrs, ",") + "/"
}

// Nodes returns all nodes. The nodes that started as primaries come first.
func (c *Cluster) Nodes() []*Server { return c.nodes }

// Primaries returns the nodes that report slots of their own now.
func (c *Cluster) Primaries() []*Server {
	var primaries []*Server
	for _, s := range c.nodes {
		if view, ok := s.view(); ok && len(view.ranges) > 0 {
			primaries = append(primaries, s)
		}
	}
	return primaries
}

// Primary returns the node that owns the slot of a key now. It returns nil while no running node
// reports the slot. A frozen or killed node does not count.
func (c *Cluster) Primary(key string) *Server { return c.Owner(Slot(key)) }

// Owner returns the node that owns a slot now, like [Cluster.Primary].
func (c *Cluster) Owner(slot int) *Server {
	var owner *Server
	var epoch int64 = -1
	for _, s := range c.nodes {
		if view, ok := s.view(); ok && view.owns(slot) && view.epoch > epoch {
			owner, epoch = s, view.epoch
		}
	}
	return owner
}

// Replicas returns the running nodes that replicate primary now.
func (c *Cluster) Replicas(primary *Server) []*Server {
	var replicas []*Server
	for _, s := range c.nodes {
		if view, ok := s.view(); ok && view.primary == primary.id {
			replicas = append(replicas, s)
		}
	}
	return replicas
}

// Healthy reports whether each running node sees an owner of each slot, and each running replica
// has all writes of its primary.
func (c *Cluster) Healthy() bool {
	for _, s := range c.nodes {
		if !s.up() {
			continue
		}
		reply, err := s.do(time.Second, "CLUSTER", "INFO")
		if err != nil || infoField(text(reply), "cluster_state") != "ok" {
			return false
		}
		reply, err = s.do(time.Second, "INFO", "replication")
		if err != nil {
			return false
		}
		if info := text(reply); infoField(info, "role") == "slave" && infoField(info, "master_link_status") != "up" {
			return false
		}
	}
	return true
}

// Failover promotes a replica of primary and waits until all running nodes agree. It returns the
// new primary. A running primary hands over without loss (CLUSTER FAILOVER). If the primary is
// frozen or dead, the replica takes over (TAKEOVER) without a wait for the node timeout.
func (c *Cluster) Failover(primary *Server) *Server {
	t := c.owned()
	t.Helper()
	replicas := c.Replicas(primary)
	if len(replicas) == 0 {
		t.Fatalf("rig: %s has no running replica", primary.name)
	}
	next := replicas[0]
	how := []string{"CLUSTER", "FAILOVER"}
	if !primary.up() {
		how = append(how, "TAKEOVER")
	}
	next.CLI(how...)
	Eventually(t, 10*time.Second, next.name+" is primary for all nodes", func() bool {
		for _, s := range c.nodes {
			if !s.up() {
				continue
			}
			view, ok := s.view()
			if !ok || !view.masters[next.id] || s != next && s == primary && view.primary != next.id {
				return false
			}
		}
		return c.Healthy()
	})
	return next
}

func (c *Cluster) owned() testing.TB {
	if c.t == nil {
		panic("rig: the cluster is shared by all tests of this process: a test that needs a fault starts its own")
	}
	return c.t
}

// view is the state of a node and its primaries, as the node reports them in CLUSTER NODES.
type view struct {
	epoch   int64
	primary string // id; "" for a primary
	ranges  [][2]int
	masters map[string]bool // ids of nodes that own slots
}

func (v view) owns(slot int) bool {
	for _, r := range v.ranges {
		if r[0] <= slot && slot <= r[1] {
			return true
		}
	}
	return false
}

func (s *Server) view() (view, bool) {
	if !s.up() {
		return view{}, false
	}
	reply, err := s.do(time.Second, "CLUSTER", "NODES")
	if err != nil {
		return view{}, false
	}
	v := view{masters: map[string]bool{}}
	for line := range strings.Lines(text(reply)) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		var ranges [][2]int
		for _, r := range f[8:] {
			if strings.HasPrefix(r, "[") { // a slot that migrates
				continue
			}
			from, to, ok := strings.Cut(r, "-")
			if !ok {
				to = from
			}
			a, err1 := strconv.Atoi(from)
			b, err2 := strconv.Atoi(to)
			if err1 != nil || err2 != nil {
				return view{}, false
			}
			ranges = append(ranges, [2]int{a, b})
		}
		v.masters[f[0]] = len(ranges) > 0
		if strings.Contains(f[2], "myself") {
			v.ranges = ranges
			v.epoch, _ = strconv.ParseInt(f[6], 10, 64)
			if f[3] != "-" {
				v.primary = f[3]
			}
		}
	}
	return v, true
}
