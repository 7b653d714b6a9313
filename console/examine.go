package console

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/lifecycle"
)

// The age at which the findings and the state of the nodes are read again, and the number of them
// that a page shows.
const (
	examinedAge = 10 * time.Second
	maxFindings = 100
	maxFinding  = 400 // characters of one text
)

// doctorFindings is what Doctor of package inspect found, the most urgent first.
type doctorFindings struct {
	Rows   []finding
	Hidden int // further findings, which the page does not show
}

// finding is a condition that weakens a guarantee or that can become an outage.
type finding struct {
	Level, Severity string // "critical", "warning" or "note", and the name in package inspect
	Code            string
	Subject         name
	What, Fix       string
}

// nodeStates is the state of the servers, one row for each primary.
type nodeStates struct {
	Mode      string
	Rows      []nodeState
	Unchecked int // primaries beyond the limit of package inspect
}

// nodeState is what a primary reported.
type nodeState struct {
	Addr           name
	Level, State   string // the circuit breaker, for people
	Opened         int
	Problem        string // why the other fields are empty
	Version        string
	Role           string // empty for a primary
	Uptime         time.Duration
	Memory, Policy string
	Saves          string
	SavesFailed    bool
	Replicas       int
	Skew           string
	P50, P99       time.Duration
}

// examine sets the shared readings of a console.
func (c *Console) examine(life *lifecycle.Group) {
	c.doctor = shared[doctorFindings]{name: "console doctor", age: examinedAge, start: life.Go, read: c.readFindings}
	c.nodes = shared[nodeStates]{name: "console nodes", age: examinedAge, start: life.Go, read: c.readNodes}
}

// readFindings asks Doctor. An error of Doctor has findings too: if the server answers other
// commands, the findings say what the user may not ask.
func (c *Console) readFindings(ctx context.Context) (doctorFindings, error) {
	found, err := c.inspector.Doctor(ctx)
	if err != nil && (len(found) == 0 || c.client.Ping(ctx) != nil) {
		return doctorFindings{}, err
	}
	return findingsOf(found), nil
}

func findingsOf(found []inspect.Finding) doctorFindings {
	shown := found[:min(len(found), maxFindings)]
	all := doctorFindings{Hidden: len(found) - len(shown)}
	for i := range shown {
		all.Rows = append(all.Rows, findingOf(&shown[i]))
	}
	return all
}

func findingOf(f *inspect.Finding) finding {
	level := "note"
	switch f.Severity {
	case inspect.SeverityError:
		level = "critical"
	case inspect.SeverityWarning:
		level = "warning"
	case inspect.SeverityNote:
	}
	return finding{
		Level: level, Severity: string(f.Severity), Code: printable(f.Code, maxShown), Subject: nameOf(f.Subject),
		What: printable(f.What, maxFinding), Fix: printable(f.Fix, maxFinding),
	}
}

// readNodes asks each primary. If none of them can be asked and Redis does not answer, the error of
// a PING says why, so that the page shows the last state.
func (c *Console) readNodes(ctx context.Context) (nodeStates, error) {
	server, err := c.inspector.Server(ctx)
	if err != nil {
		return nodeStates{}, err
	}
	all := nodeStates{Mode: printable(server.Mode, maxShown), Unchecked: max(0, len(c.client.Nodes())-len(server.Nodes))}
	asked := 0
	for i := range server.Nodes {
		if server.Nodes[i].Problem == "" {
			asked++
		}
		all.Rows = append(all.Rows, nodeStateOf(&server.Nodes[i]))
	}
	if asked == 0 {
		if err := c.client.Ping(ctx); err != nil {
			return nodeStates{}, err
		}
	}
	return all, nil
}

// skewOf returns a clock skew for people. A shorter one than 1 ms is the noise of the measurement.
func skewOf(skew time.Duration) string {
	if skew.Abs() < time.Millisecond {
		return "below 1 ms"
	}
	return span(skew)
}

func nodeStateOf(n *inspect.Node) nodeState {
	row := nodeState{
		Addr: nameOf(n.Addr), Level: "good", State: "closed", Opened: int(n.Opened), Problem: printable(n.Problem, maxFinding),
		Version: printable(n.Version, maxShown), Uptime: time.Duration(n.Uptime),
		Memory: size(n.UsedMemory), Policy: printable(n.Policy, maxShown), Saves: "snapshots only", SavesFailed: n.SavesFailed,
		Replicas: n.Replicas, Skew: skewOf(time.Duration(n.ClockSkew)), P50: time.Duration(n.LatencyP50), P99: time.Duration(n.LatencyP99),
	}
	if n.Breaker != "closed" {
		row.Level, row.State = "critical", printable(n.Breaker, maxShown)
	}
	if n.Role != "master" {
		row.Role = printable(n.Role, maxShown)
	}
	if n.MaxMemory > 0 {
		row.Memory += " of " + size(n.MaxMemory)
	}
	if n.AppendOnly {
		row.Saves = "append-only file"
	}
	return row
}
