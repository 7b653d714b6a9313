package redstart_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/allmetrics"
	"github.com/redstart-go/redstart/observe"
)

const metricsFile = "docs/metrics.md"

// The marks around a generated table.
const (
	tableOpens  = "<!-- make docs writes this table: %s -->\n"
	tableCloses = "<!-- end of the table -->\n"
)

// TestDocsMetricsTableIsComplete compares docs/metrics.md with the metrics that a client yields
// after each pattern was used, and with the histograms. make docs writes the tables.
func TestDocsMetricsTableIsComplete(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client := open(t, redstart.Config{URL: server.URL(), Namespace: rig.Prefix(t)})
	allmetrics.Emit(t, client)

	text := readFile(t, metricsFile)
	for name, rows := range map[string]string{
		"counters and gauges": metricRows(client),
		"histograms":          histogramRows(),
	} {
		begin, after, found := strings.Cut(text, fmt.Sprintf(tableOpens, name))
		table, end, closed := strings.Cut(after, tableCloses)
		if !found || !closed {
			t.Fatalf("%s has no table of %s", metricsFile, name)
		}
		if updateDocs {
			text = begin + fmt.Sprintf(tableOpens, name) + rows + tableCloses + end
		} else if table != rows {
			t.Errorf("%s: the table of %s is out of date: run make docs\ngot:\n%s\nwant:\n%s", metricsFile, name, table, rows)
		}
	}
	if updateDocs {
		writeFile(t, metricsFile, text)
	}
}

func metricRows(client *redstart.Client) string {
	metrics := map[string]observe.Metric{}
	values := map[string]map[string]bool{} // of the label with a fixed set of values, by name
	for m := range client.Metrics() {
		if known, ok := metrics[m.Name]; !ok || len(m.Labels) > len(known.Labels) {
			metrics[m.Name] = m
		}
		for _, l := range m.Labels {
			if l.Name == "result" || l.Name == "outcome" || l.Name == "kind" {
				key := m.Name + " " + l.Name
				if values[key] == nil {
					values[key] = map[string]bool{}
				}
				values[key][l.Value] = true
			}
		}
	}

	var rows strings.Builder
	rows.WriteString("| metric | in Prometheus | kind | unit | labels | what it counts |\n|---|---|---|---|---|---|\n")
	for _, m := range slices.SortedFunc(maps.Values(metrics), func(a, b observe.Metric) int { return cmp.Compare(a.Name, b.Name) }) {
		labels := make([]string, len(m.Labels))
		for i, l := range m.Labels {
			labels[i] = "`" + l.Name + "`"
			if set := values[m.Name+" "+l.Name]; set != nil {
				labels[i] += ": " + strings.Join(slices.Sorted(maps.Keys(set)), ", ")
			}
		}
		fmt.Fprintf(&rows, "| `%s` | `%s` | %s | %s | %s | %s |\n", m.Name, inPrometheus(m), m.Kind, unitOf(m.Unit),
			strings.Join(labels, "; "), strings.TrimSuffix(m.Help, "."))
	}
	return rows.String()
}

func histogramRows() string {
	var rows strings.Builder
	rows.WriteString("| histogram | in Prometheus | labels | buckets, s | what it measures |\n|---|---|---|---|---|\n")
	for _, h := range observe.Histograms() {
		labels := "`pattern`; `name`; `verb`; `subscriber`"
		if h.Quantity == observe.Duration {
			labels += "; `error_type`"
		}
		bounds := make([]string, len(h.Bounds))
		for i, b := range h.Bounds {
			bounds[i] = fmt.Sprint(b)
		}
		fmt.Fprintf(&rows, "| `%s` | `%s` | %s | %s | %s |\n", h.Name,
			inPrometheus(observe.Metric{Name: h.Name, Unit: h.Unit, Kind: observe.Gauge}), labels,
			strings.Join(bounds, ", "), strings.TrimSuffix(h.Help, "."))
	}
	return rows.String()
}

// inPrometheus returns the name of a metric in Prometheus. The tests of the two adapters compare
// their names with the table.
func inPrometheus(m observe.Metric) string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	if suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[m.Unit]; !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	if m.Kind == observe.Counter {
		name += "_total"
	}
	return name
}

func unitOf(unit string) string {
	return cmp.Or(map[string]string{"s": "seconds", "By": "bytes"}[unit], "count")
}
