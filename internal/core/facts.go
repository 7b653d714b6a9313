package core

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/observe"
)

// Capabilities are what a server offers beyond the commands that every pattern needs.
type Capabilities struct {
	Server        string // redis, valkey or embedded
	Version       string // of that server
	Tracking      bool   // pushes invalidations (CLIENT TRACKING)
	ShardedPubSub bool   // SPUBLISH
	SetIfEqual    bool   // SET … IFEQ
	StreamClaim   bool   // XREADGROUP … CLAIM
	WaitAOF       bool   // WAITAOF
}

// Warning is a setting of the server under which a guarantee is weaker.
type Warning struct {
	Code string // stable, for programs: eviction, persistence, replica, version
	Text string // for people, with the next step
}

type facts struct {
	capabilities Capabilities
	warnings     []Warning
}

// Capabilities returns what was learned at connect; before that, nothing is offered.
func (c *Core) Capabilities() Capabilities {
	if f := c.facts.Load(); f != nil {
		return f.capabilities
	}
	return Capabilities{}
}

// Warnings returns what was found at connect.
func (c *Core) Warnings() []Warning {
	if f := c.facts.Load(); f != nil {
		return f.warnings
	}
	return nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

func capabilitiesOf(info map[string]string) Capabilities {
	if info["redstart_embedded"] == "1" || info["redis_version"] == "" {
		return Capabilities{Server: "embedded", Version: info["redis_version"], ShardedPubSub: true}
	}
	if v := info["valkey_version"]; v != "" {
		return Capabilities{Server: "valkey", Version: v, ShardedPubSub: true, WaitAOF: true, SetIfEqual: atLeast(v, 8, 1)}
	}
	v := info["redis_version"]
	return Capabilities{Server: "redis", Version: v, ShardedPubSub: atLeast(v, 7, 0), WaitAOF: atLeast(v, 7, 2), SetIfEqual: atLeast(v, 8, 4), StreamClaim: atLeast(v, 8, 4)}
}

func older(a, b string) bool {
	var x, y [3]int
	for i, v := range [][]string{strings.Split(a, "."), strings.Split(b, ".")} {
		for j := range min(3, len(v)) {
			n, _ := strconv.Atoi(v[j]) // a word counts as zero
			if i == 0 {
				x[j] = n
			} else {
				y[j] = n
			}
		}
	}
	return slices.Compare(x[:], y[:]) < 0
}

func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}

func warningsOf(info map[string]string, has Capabilities) []Warning {
	if has.Server == "embedded" {
		return nil
	}
	var all []Warning
	if has.Server == "redis" && !atLeast(has.Version, 7, 0) || has.Server == "valkey" && !atLeast(has.Version, 7, 2) {
		all = append(all, Warning{"version", fmt.Sprintf("%s %s is older than Redis 7.0 and Valkey 7.2: nothing is promised; upgrade", has.Server, has.Version)})
	}
	if policy := info["maxmemory_policy"]; info["maxmemory"] != "0" && policy != "" && policy != "noeviction" {
		all = append(all, Warning{"eviction", fmt.Sprintf("maxmemory-policy is %s: locks, sessions, limits and tags may vanish when memory is full; give them a server with noeviction", policy)})
	}
	if info["aof_enabled"] == "0" {
		all = append(all, Warning{"persistence", "the append-only file is off: a restart loses durable events; set appendonly yes"})
	}
	if info["role"] == "slave" {
		all = append(all, Warning{"replica", "the server is a replica: writes will fail; use the primary, redis+sentinel:// or redis+cluster://"})
	}
	return all
}

// PublishCommand is the command with which a script publishes to its own slot. On a lazy client it may
// wait for the connection, for ctx and at most the command timeout.
func (c *Core) PublishCommand(ctx context.Context) string {
	if c.begin(ctx, c.due()) != nil || c.Capabilities().ShardedPubSub {
		return "SPUBLISH" // without a server the script will not run either
	}
	return "PUBLISH"
}

// Publish sends a message to those who subscribed to the channel through a Hub: one round trip, at most once.
func (c *Core) Publish(ctx context.Context, channel, message string) error {
	due := c.due()
	if err := c.begin(ctx, due); err != nil {
		return err
	}
	cmd := WriteAt("", "PUBLISH", channel, message)
	if c.Capabilities().ShardedPubSub {
		cmd = WriteAt(channel, "SPUBLISH", channel, message)
	}
	r := c.request(cmd)
	_, err := c.do(ctx, ordinary, &r, due)
	return err
}

// NodeStats is one node as its breaker sees it.
type NodeStats struct {
	Addr    string
	Breaker BreakerState
	Opened  int64 // how often the breaker opened
}

// Nodes returns the nodes known now.
func (c *Core) Nodes() []NodeStats {
	var all []NodeStats
	for _, n := range c.allNodes() {
		all = append(all, NodeStats{n.addr, BreakerState(n.state.Load()), n.opened.Load()})
	}
	return all
}

func (c *Core) ownMetrics(yield func(observe.Metric) bool) bool {
	if !yield(observe.Metric{Name: "redstart.calls.timeouts", Help: "Calls that got no answer within the command timeout.", Kind: observe.Counter, Value: float64(c.timeouts.Load())}) {
		return false
	}
	abandoned := 0
	for _, conn := range c.conns.list() {
		conn.mu.Lock()
		abandoned += conn.abandoned
		conn.mu.Unlock()
	}
	if !yield(observe.Metric{Name: "redstart.calls.abandoned", Help: "Calls whose callers left, without an answer yet.", Kind: observe.Gauge, Value: float64(abandoned)}) {
		return false
	}
	for _, n := range c.Nodes() {
		labels := []observe.Label{{Name: "node", Value: n.Addr}}
		if !yield(observe.Metric{Name: "redstart.breaker.open", Help: "1 while calls to the node fail at once.", Kind: observe.Gauge, Labels: labels, Value: float64(min(n.Breaker, 1))}) ||
			!yield(observe.Metric{Name: "redstart.breaker.opened", Help: "How often the breaker opened.", Kind: observe.Counter, Labels: labels, Value: float64(n.Opened)}) {
			return false
		}
	}
	return true
}
