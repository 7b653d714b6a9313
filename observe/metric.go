package observe

import "fmt"

// Kind says how a Metric's value moves.
type Kind uint8

const (
	Counter Kind = iota // only grows while the process lives
	Gauge               // a level: goes up and down
)

// String returns "counter" or "gauge".
func (k Kind) String() string {
	switch k {
	case Counter:
		return "counter"
	case Gauge:
		return "gauge"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Metric is one value at one moment.
type Metric struct {
	Name   string  // "redstart.cache.requests"
	Help   string  // one sentence
	Unit   string  // "s", "By" or "1", as UCUM writes them
	Kind   Kind    // Counter or Gauge
	Labels []Label // in a fixed order for each name
	Value  float64
}

// Label is a dimension of a Metric. Its values come from a small set known to the program.
type Label struct{ Name, Value string }
