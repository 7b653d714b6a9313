package observe

import "fmt"

// Kind says how the value of a [Metric] changes.
type Kind uint8

const (
	Counter Kind = iota // only grows until the process ends
	Gauge               // a level that rises and falls
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

// Metric is one value at one moment. Client.Metrics of package redstart yields them.
type Metric struct {
	Name   string  // "redstart.cache.requests"
	Help   string  // one sentence that ends with a full stop
	Unit   string  // of UCUM: "s", "By" or "1"
	Kind   Kind    // Counter or Gauge
	Labels []Label // in the same order for each Metric of this name
	Value  float64
}

// Label is a dimension of a [Metric]. Its values come from a small, fixed set.
type Label struct{ Name, Value string }
