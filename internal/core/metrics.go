package core

import (
	"slices"
	"strings"

	"github.com/redstart-go/redstart/observe"
)

// metricSource yields counters until yield returns false, and returns what yield returned last.
type metricSource func(yield func(observe.Metric) bool) bool

// OnMetrics adds a source of counters; the returned function removes it. Sources may yield the same name with the same
// labels (two caches of one name): Metrics adds their values up.
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

// Metrics yields what the connection layer and the patterns have counted, each name and set of labels once.
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
