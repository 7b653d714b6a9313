package inspect

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// Server describes the servers of the client, as they are now.
type Server struct {
	Kind    string `json:"kind"` // redis, valkey or embedded
	Version string `json:"version"`
	Mode    string `json:"mode"` // standalone, sentinel or cluster
	// Tracking reports that the server pushes invalidations to this client.
	Tracking      bool      `json:"tracking"`
	ShardedPubSub bool      `json:"sharded_pubsub"`
	Nodes         []Node    `json:"nodes"`
	Warnings      []Warning `json:"warnings"`
}

// Warning is a setting of the server that weakens a guarantee: see redstart.Warning.
type Warning struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Node is one primary.
type Node struct {
	Addr string `json:"addr"`
	// Breaker is the state of the circuit breaker of this client, and Opened how often it opened.
	Breaker string `json:"breaker"`
	Opened  int64  `json:"opened"`
	// Problem says why the following fields are empty: the node could not be asked.
	Problem string `json:"problem,omitempty"`

	Role        string   `json:"role"`
	Version     string   `json:"version"`
	Uptime      Duration `json:"uptime"`
	UsedMemory  int64    `json:"used_memory"` // bytes
	MaxMemory   int64    `json:"max_memory"`  // bytes; 0: no limit
	Policy      string   `json:"policy"`      // maxmemory-policy
	AppendOnly  bool     `json:"append_only"`
	SavesFailed bool     `json:"saves_failed"` // the last snapshot or append-only write failed
	Replicas    int      `json:"replicas"`
	// ClockSkew is the server's clock minus the clock of this process, exact to half a round trip.
	ClockSkew Duration `json:"clock_skew"`
	// LatencyP50 and LatencyP99 are of 20 PINGs, one after the other.
	LatencyP50 Duration `json:"latency_p50"`
	LatencyP99 Duration `json:"latency_p99"`
}

// The budget of Server: the nodes that it asks, those that it asks at the same time, and the PINGs
// that it sends to each.
const (
	maxNodes   = 100
	askAtOnce  = 8
	pingsATime = 20
)

// Server asks each primary for its state: 22 round trips to each, eight nodes at the same time, and
// at most 100 nodes. A node that can't be asked has a Problem, and is no error.
func (in *Inspector) Server(ctx context.Context) (Server, error) {
	has := in.client.Capabilities()
	s := Server{Kind: has.Server, Version: has.Version, Mode: in.core.Mode(), Tracking: has.Tracking,
		ShardedPubSub: has.ShardedPubSub, Nodes: []Node{}, Warnings: []Warning{}}
	if err := in.client.Ping(ctx); err != nil && !unavailable(err) {
		return s, failure("server", "", err)
	}
	for _, w := range in.client.Warnings() {
		s.Warnings = append(s.Warnings, Warning{w.Code, w.Text})
	}

	nodes := in.client.Nodes()
	s.Nodes = make([]Node, min(len(nodes), maxNodes))
	var wg sync.WaitGroup
	places := make(chan struct{}, askAtOnce)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Addr, n.Breaker, n.Opened = nodes[i].Addr, nodes[i].Breaker.String(), nodes[i].Opened
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := in.ask(ctx, n); err != nil {
				n.Problem = truncated(err.Error())
			}
		})
	}
	wg.Wait()
	slices.SortFunc(s.Nodes, func(a, b Node) int { return strings.Compare(a.Addr, b.Addr) })
	if ctx.Err() != nil {
		return s, failure("server", "", ctx.Err())
	}
	return s, nil
}

// unavailable reports whether the servers could not be asked: the nodes then have their problems.
func unavailable(err error) bool {
	return errors.Is(err, fault.ErrUnavailable)
}

// ask reads the state of one node.
func (in *Inspector) ask(ctx context.Context, n *Node) error {
	text, err := in.core.InfoAt(ctx, n.Addr)
	if err != nil {
		return err
	}
	n.read(infoOf(text))

	before := time.Now()
	reply, err := in.core.DoAt(ctx, n.Addr, "TIME")
	if err != nil {
		return err
	}
	middle := before.Add(time.Since(before) / 2)
	parts, err := reply.AsIntSlice()
	if err != nil || len(parts) != 2 {
		return fault.New(fault.ErrCorrupt, errors.New("malformed reply to TIME"), "")
	}
	n.ClockSkew = Duration(time.Unix(parts[0], parts[1]*1000).Sub(middle).Round(time.Microsecond))

	times := make([]time.Duration, 0, pingsATime)
	for range pingsATime {
		began := time.Now()
		if _, err := in.core.DoAt(ctx, n.Addr, "PING"); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	n.LatencyP50, n.LatencyP99 = Duration(times[len(times)/2]), Duration(times[len(times)-1])
	return nil
}

// infoOf parses a reply to INFO.
func infoOf(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// read sets the fields that INFO has. A server without a field leaves it empty.
func (n *Node) read(info map[string]string) {
	number := func(name string) int64 {
		v, err := strconv.ParseInt(info[name], 10, 64)
		if err != nil {
			return 0 // the server does not report it
		}
		return v
	}
	n.Role = info["role"]
	if n.Version = info["valkey_version"]; n.Version == "" {
		n.Version = info["redis_version"]
	}
	n.Uptime = Duration(time.Duration(number("uptime_in_seconds")) * time.Second)
	n.UsedMemory, n.MaxMemory, n.Policy = number("used_memory"), number("maxmemory"), info["maxmemory_policy"]
	n.AppendOnly = info["aof_enabled"] == "1"
	n.SavesFailed = info["rdb_last_bgsave_status"] == "err" || info["aof_last_write_status"] == "err"
	n.Replicas = int(number("connected_slaves"))
}
