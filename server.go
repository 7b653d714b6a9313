package redstart

import "strconv"

// Capabilities says what the server offers beyond the commands that every pattern needs. The
// patterns adapt to it. [Client.Capabilities] returns it.
type Capabilities struct {
	// Server is "redis", "valkey" or "embedded"; or "dragonfly", "garnet", "keydb", "kvrocks" or
	// "redict", on which no test ran; or "unknown". It is empty until the first connection.
	Server string
	// Version is the version of the server, such as "8.0.2". On a cluster it is the oldest one.
	Version string
	// Tracking is true if the server pushes invalidations (CLIENT TRACKING), as near caches need.
	Tracking bool
	// ShardedPubSub is true if the server has SPUBLISH (Redis 7.0).
	ShardedPubSub bool
	// SetIfEqual is true if the server has SET with IFEQ (Valkey 8.1, Redis 8.4).
	SetIfEqual bool
	// StreamClaim is true if the server has XREADGROUP with CLAIM (Redis 8.4).
	StreamClaim bool
	// WaitAOF is true if the server has WAITAOF (Redis 7.2).
	WaitAOF bool
}

// Warning is a setting of the server that weakens a guarantee. [Open] logs it, and
// [Client.Warnings] returns it.
type Warning struct {
	// Code is stable, for programs: "version", "eviction", "persistence", "replica", "server" (it
	// is neither Redis nor Valkey), "protocol" (RESP2), "tracking" (refused), "info" (refused) or
	// "assumed" (Config.Assume).
	Code string
	// Text is one sentence for people: the setting, what it weakens, and what to change.
	Text string
}

// NodeStats describes one node of the server. [Client.Nodes] returns it.
type NodeStats struct {
	// Addr is host:port, or the path of a socket. With Sentinel it lists the sentinels.
	Addr string
	// Breaker says whether calls reach the node.
	Breaker BreakerState
	// Opened counts how often the circuit breaker has opened.
	Opened int64
}

// BreakerState is the state of a node's circuit breaker.
type BreakerState int32

const (
	// BreakerClosed means that calls reach the node.
	BreakerClosed BreakerState = iota
	// BreakerOpen means that calls fail at once with [ErrUnavailable].
	BreakerOpen
	// BreakerHalfOpen means that calls fail at once while one probe asks the node.
	BreakerHalfOpen
)

// String returns "closed", "open" or "half-open".
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return "BreakerState(" + strconv.Itoa(int(s)) + ")"
}
