package redstartprom

import (
	"iter"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redstart-go/redstart/observe"
)

// Collector exports the counters and gauges of a client. Use [NewCollector].
type Collector struct{ metrics iter.Seq[observe.Metric] }

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a collector of redstart.Client.Metrics. It reads the values at each scrape.
func NewCollector(metrics iter.Seq[observe.Metric]) *Collector { return &Collector{metrics} }

// Describe sends nothing: the set of metrics grows with the patterns that the program creates. The
// registry therefore checks the metrics at each scrape.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the present values.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	for m := range c.metrics {
		names, values := make([]string, len(m.Labels)), make([]string, len(m.Labels))
		for i, l := range m.Labels {
			names[i], values[i] = underscores(l.Name), strings.ToValidUTF8(l.Value, "\uFFFD")
		}

		kind := prometheus.GaugeValue
		if m.Kind == observe.Counter {
			kind = prometheus.CounterValue
		}
		desc := prometheus.NewDesc(Name(m), m.Help, names, nil)
		metric, err := prometheus.NewConstMetric(desc, kind, m.Value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		to <- metric
	}
}

// Name returns the name of a metric in Prometheus: "redstart_cache_load_time_seconds_total".
func Name(m observe.Metric) string {
	name := nameOf(m.Name, m.Unit)
	if m.Kind == observe.Counter && !strings.HasSuffix(name, "_total") {
		name += "_total"
	}
	return name
}

// nameOf adds the unit to a name, unless the name ends with the unit.
func nameOf(name, unit string) string {
	name = underscores(name)
	if suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[unit]; !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	return name
}

func underscores(name string) string { return strings.ReplaceAll(name, ".", "_") }
