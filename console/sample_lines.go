package console

import (
	"slices"
	"strings"

	"github.com/redstart-go/redstart/observe"
)

// indexLines returns the lines of all charts by the metric that they count.
func indexLines() map[string][]line {
	index := make(map[string][]line)
	for _, spec := range charts {
		for _, m := range spec.lines {
			metric := "redstart." + m.metric
			index[metric] = append(index[metric], line{
				chart: spec.id, key: spec.id + " " + m.label, values: strings.Fields(m.values),
			})
		}
	}
	return index
}

// counts reports whether a metric is a part of the line.
func (l line) counts(m observe.Metric) bool {
	if len(l.values) == 0 {
		return true
	}
	return slices.ContainsFunc(m.Labels, func(label observe.Label) bool {
		return (label.Name == "result" || label.Name == "outcome") && slices.Contains(l.values, label.Value)
	})
}
