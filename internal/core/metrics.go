package core

import (
	"slices"
	"strings"

	"github.com/redstart-go/redstart/observe"
)

// metricSource yields metrics until yield returns false. It returns the last result of yield.
type metricSource func(yield func(observe.Metric) bool) bool

// OnMetrics registers a source of metrics; remove unregisters it. Several sources may yield the
// same name with the same labels, for example two caches of one name. [Core.Metrics] adds their
// values.
func (c *Core) OnMetrics(source func(yield func(observe.Metric) bool) bool) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()

	entry := new(metricSource(source))
	c.metrics = append(c.metrics, entry)

	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.metrics, entry); i >= 0 {
			c.metrics = slices.Delete(slices.Clone(c.metrics), i, i+1)
		}
	}
}

// Metrics yields the metrics of the call layer and the patterns. Each name with its labels comes
// once.
func (c *Core) Metrics(yield func(observe.Metric) bool) {
	c.mu.Lock()
	sources := c.metrics[:len(c.metrics):len(c.metrics)]
	c.mu.Unlock()

	var all []observe.Metric
	at := make(map[string]int)
	add := func(m observe.Metric) bool {
		key := seriesKey(m)
		if i, ok := at[key]; ok {
			all[i].Value += m.Value
			return true
		}
		at[key] = len(all)
		all = append(all, m)
		return true
	}
	c.ownMetrics(add)
	for _, source := range sources {
		(*source)(add)
	}

	for _, m := range all {
		if !yield(m) {
			return
		}
	}
}

func seriesKey(m observe.Metric) string {
	var b strings.Builder
	b.WriteString(m.Name)
	for _, l := range m.Labels {
		b.WriteByte(0)
		b.WriteString(l.Name)
		b.WriteByte(0)
		b.WriteString(l.Value)
	}
	return b.String()
}
