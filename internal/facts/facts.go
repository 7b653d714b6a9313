// Package facts derives a server's features, and the settings that weaken guarantees, from the
// server's INFO reply.
package facts

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Capabilities are the features of a server beyond the commands that every pattern needs.
type Capabilities struct {
	Server        string // redis, valkey, embedded, the name of another server, or unknown
	Version       string // version of Server
	Tracking      bool   // pushes invalidations (CLIENT TRACKING)
	ShardedPubSub bool   // SPUBLISH
	SetIfEqual    bool   // SET … IFEQ
	StreamClaim   bool   // XREADGROUP … CLAIM
	WaitAOF       bool   // WAITAOF
}

// Warning is a setting of the server that weakens a guarantee.
type Warning struct {
	Code string // stable, for programs, such as eviction
	Text string // for operators, with the next step
}

// Facts describe a server, or all nodes of a cluster.
type Facts struct {
	Capabilities Capabilities
	Warnings     []Warning
}

// The budgets of an INFO reply. Redis sends about 6 KiB.
const (
	maxInfo  = 256 << 10 // bytes that are read
	maxValue = 128       // bytes of one value
)

// Parse reads an INFO reply, up to 256 KiB. It does not set Tracking, because only a trial shows
// it. inCluster reports whether the server is part of a cluster. The result does not refer to text.
func Parse(text string) (f *Facts, inCluster bool) {
	info := make(map[string]string)
	for line := range strings.Lines(text[:min(len(text), maxInfo)]) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = Short(value)
		}
	}
	has := capabilitiesOf(info)
	return &Facts{has, warningsOf(info, has)}, info["cluster_enabled"] == "1"
}

// Short returns a copy of a value that a server states about itself, at most 128 bytes of it.
func Short(value string) string { return strings.Clone(value[:min(len(value), maxValue)]) }

// And returns the features that both nodes of a cluster have, and the warnings of both.
func (f *Facts) And(g *Facts) *Facts {
	if f == nil || g == nil {
		return cmp.Or(f, g)
	}
	a, b := f.Capabilities, g.Capabilities
	both := Capabilities{
		Server: a.Server, Version: a.Version,
		Tracking:      a.Tracking && b.Tracking,
		ShardedPubSub: a.ShardedPubSub && b.ShardedPubSub,
		SetIfEqual:    a.SetIfEqual && b.SetIfEqual,
		StreamClaim:   a.StreamClaim && b.StreamClaim,
		WaitAOF:       a.WaitAOF && b.WaitAOF,
	}
	if older(b.Version, a.Version) {
		both.Server, both.Version = b.Server, b.Version
	}
	warnings := slices.Clone(f.Warnings)
	for _, w := range g.Warnings {
		if !slices.ContainsFunc(warnings, func(o Warning) bool { return o.Code == w.Code }) {
			warnings = append(warnings, w)
		}
	}
	return &Facts{both, warnings}
}

func capabilitiesOf(info map[string]string) Capabilities {
	if info["redstart_embedded"] == "1" {
		return Capabilities{Server: Embedded, Version: info["redis_version"], ShardedPubSub: true}
	}
	if name, version := other(info); name != "" {
		return Capabilities{Server: name, Version: version}
	}
	if v := info["valkey_version"]; v != "" {
		return Capabilities{Server: "valkey", Version: v, ShardedPubSub: true, WaitAOF: true, SetIfEqual: atLeast(v, 8, 1)}
	}
	v := info["redis_version"]
	return Capabilities{Server: "redis", Version: v, ShardedPubSub: atLeast(v, 7, 0),
		WaitAOF: atLeast(v, 7, 2), SetIfEqual: atLeast(v, 8, 4), StreamClaim: atLeast(v, 8, 4)}
}

func older(a, b string) bool {
	var x, y [3]int
	for i, v := range [][]string{strings.Split(a, "."), strings.Split(b, ".")} {
		for j := range min(3, len(v)) {
			n, _ := strconv.Atoi(v[j]) // a part that is not a number counts as zero
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
	if has.Server == Embedded {
		return nil
	}
	var all []Warning
	if has.Server != "redis" && has.Server != "valkey" {
		all = append(all, notRun(has))
	}
	if has.Server == "redis" && !atLeast(has.Version, 7, 0) || has.Server == "valkey" && !atLeast(has.Version, 7, 2) {
		all = append(all, Warning{"version",
			fmt.Sprintf("%s %s is older than Redis 7.0 and Valkey 7.2: nothing is promised; upgrade",
				has.Server, has.Version)})
	}
	if policy := info["maxmemory_policy"]; info["maxmemory"] != "0" && policy != "" && policy != "noeviction" {
		all = append(all, Warning{"eviction",
			fmt.Sprintf("maxmemory-policy is %s: "+
				"locks, sessions, limits and tags may vanish when memory is full; give them a server with noeviction", policy)})
	}
	if info["aof_enabled"] == "0" {
		all = append(all, Warning{"persistence",
			"the append-only file is off: a restart loses durable events; set appendonly yes"})
	}
	if info["role"] == "slave" {
		all = append(all, Warning{"replica",
			"the server is a replica: writes will fail; use the primary, redis+sentinel:// or redis+cluster://"})
	}
	return all
}
