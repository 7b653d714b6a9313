package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// Severity says how urgent a [Finding] is.
type Severity string

// The severities. A note is something that Doctor could not check, or that may be intended.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note"
)

// Finding is one thing that Doctor found, with its repair.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`    // stable, for programs
	Subject  string   `json:"subject"` // the node or the pattern
	What     string   `json:"what"`
	Fix      string   `json:"fix"`
}

// The limits above which Doctor reports a node.
const (
	skewLimit    = 500 * time.Millisecond
	latencyLimit = 50 * time.Millisecond
	memoryLimit  = 0.9
)

// Doctor looks for conditions that weaken guarantees or that soon become outages: unreachable
// nodes, open breakers, settings, memory, persistence, replicas, clocks, latency, tracking, and
// missing rights of [Options.ServiceUser]. It returns the most urgent findings first. It takes the
// round trips of [Inspector.Server], and two more. An error means that it could not look.
func (in *Inspector) Doctor(ctx context.Context) ([]Finding, error) {
	s, err := in.Server(ctx)
	if err != nil {
		return nil, err
	}
	findings := []Finding{}
	silent := !s.Tracking && s.Kind != "embedded" // no warning gives the reason, with Config.Assume
	for _, w := range s.Warnings {
		silent = silent && w.Code != "tracking" && w.Code != "protocol"
		what, fix, _ := strings.Cut(w.Text, "; ")
		findings = append(findings, Finding{SeverityWarning, w.Code, s.Kind, what, fix})
	}
	reached := 0
	for i := range s.Nodes {
		if s.Nodes[i].Problem == "" {
			reached++
		}
		findings = append(findings, s.Nodes[i].findings(s.Mode)...)
	}
	if reached == 0 {
		return findings, failure("doctor", "", fault.New(fault.ErrUnavailable, errors.New("no node can be asked"), ""))
	}
	if silent {
		findings = append(findings, Finding{SeverityWarning, "tracking", s.Kind,
			"the server does not push invalidations to this client: near caches are off, and waiters poll",
			"allow CLIENT TRACKING: the rule +client|tracking"})
	}
	rights, err := in.rights(ctx)
	if err != nil {
		return findings, failure("doctor", "", err)
	}
	findings = append(findings, rights...)
	order := []Severity{SeverityError, SeverityWarning, SeverityNote}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return slices.Index(order, a.Severity) - slices.Index(order, b.Severity)
	})
	return findings, nil
}

// findings returns what is wrong with one node.
func (n *Node) findings(mode string) (all []Finding) {
	add := func(severity Severity, code, fix, format string, args ...any) {
		all = append(all, Finding{severity, code, n.Addr, fmt.Sprintf(format, args...), fix})
	}
	if n.Problem != "" {
		add(SeverityError, "unreachable", "look at the process, the network and the user of the node",
			"can't be asked: %s", n.Problem)
		return all
	}
	if n.Breaker != "closed" {
		add(SeverityError, "breaker", "calls of this client fail at once until a probe gets an answer",
			"the circuit breaker is %s", n.Breaker)
	}
	if n.SavesFailed {
		add(SeverityError, "saves", "read the log of the server: often the disk is full",
			"the last snapshot or append-only write failed")
	}
	if n.MaxMemory > 0 && float64(n.UsedMemory) > memoryLimit*float64(n.MaxMemory) {
		add(SeverityWarning, "memory", "raise maxmemory, or store less",
			"%d of %d bytes of memory are used", n.UsedMemory, n.MaxMemory)
	}
	if skew := time.Duration(n.ClockSkew); skew.Abs() > skewLimit {
		add(SeverityWarning, "clock", "synchronize the clocks (NTP): leases and windows use the clock of the server",
			"its clock differs by %v from the clock of this process", skew.Round(time.Millisecond))
	}
	if p99 := time.Duration(n.LatencyP99); p99 > latencyLimit {
		add(SeverityWarning, "latency", "look for slow commands (SLOWLOG), swapping and the network",
			"the slowest of %d PINGs took %v", pingsATime, p99.Round(time.Millisecond))
	}
	if n.Replicas == 0 && mode != "standalone" {
		add(SeverityWarning, "replicas", "add a replica: the loss of the node loses its data", "no replica is connected")
	}
	return all
}
