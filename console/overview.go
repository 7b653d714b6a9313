package console

import (
	"context"

	"github.com/redstart-go/redstart"
)

// overview is the content of the first page.
type overview struct {
	Health   health
	Findings section[doctorFindings]
	Charts   []chart
}

// health is the state in one line: Level is "good", "warning" or "critical".
type health struct {
	Level, Text string
	Nodes       []nodeRow
}

// nodeRow is a node of the server.
type nodeRow struct {
	Addr   name
	State  string
	Level  string
	Opened int
}

func (c *Console) overview(ctx context.Context, _ request) any {
	_ = c.client.Ping(ctx) // a failure shows in the state of the nodes
	return overview{Health: c.health(), Findings: c.doctor.get(ctx), Charts: c.sampler.read()}
}

// health reads the circuit breakers. It sends no command.
func (c *Console) health() health {
	h := health{Level: "good", Text: "All nodes answer."}
	open := 0
	nodes := c.client.Nodes()
	for _, n := range nodes {
		row := nodeRow{Addr: nameOf(n.Addr), State: "answers", Level: "good", Opened: int(n.Opened)}
		if n.Breaker != redstart.BreakerClosed {
			open++
			row.State, row.Level = "does not answer", "critical"
		}
		h.Nodes = append(h.Nodes, row)
	}
	switch {
	case len(nodes) == 0:
		h.Level, h.Text = "warning", "The client has not connected yet."
	case open == len(nodes):
		h.Level, h.Text = "critical", "Redis does not answer. The pages show the last state with its age."
	case open > 0:
		h.Level, h.Text = "warning", counted(open, "node does not answer.", "nodes do not answer.")
	}
	return h
}
