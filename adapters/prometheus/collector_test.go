package redstartprom_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	redstartprom "github.com/redstart-go/redstart/adapters/prometheus"
	"github.com/redstart-go/redstart/observe"
)

func TestCollectorKeepsKindUnitAndLabels(t *testing.T) {
	t.Parallel()
	collector := redstartprom.NewCollector(func(yield func(observe.Metric) bool) {
		_ = yield(observe.Metric{Name: "a.load.time", Help: "Loads.", Unit: "s", Kind: observe.Counter, Value: 2.5,
			Labels: []observe.Label{{Name: "cache", Value: "users"}}}) &&
			yield(observe.Metric{Name: "a.load.time", Help: "Loads.", Unit: "s", Kind: observe.Counter, Value: 1,
				Labels: []observe.Label{{Name: "cache", Value: "or\"d\xffers\n"}}}) &&
			yield(observe.Metric{Name: "a.near.bytes", Help: "Bytes.", Unit: "By", Kind: observe.Gauge, Value: 7}) &&
			yield(observe.Metric{Name: "a.hits", Help: "Hits.", Unit: "1", Kind: observe.Counter, Value: 3})
	})
	want := `
# HELP a_hits_total Hits.
# TYPE a_hits_total counter
a_hits_total 3
# HELP a_load_time_seconds_total Loads.
# TYPE a_load_time_seconds_total counter
a_load_time_seconds_total{cache="or\"d�ers\n"} 1
a_load_time_seconds_total{cache="users"} 2.5
# HELP a_near_bytes Bytes.
# TYPE a_near_bytes gauge
a_near_bytes 7
`
	if err := testutil.CollectAndCompare(collector, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(collector)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// A metric that Prometheus refuses is an error of the scrape, and no panic.
func TestCollectorReportsInvalidMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(redstartprom.NewCollector(func(yield func(observe.Metric) bool) {
		yield(observe.Metric{Name: "a", Labels: []observe.Label{{Name: "x"}, {Name: "x"}}})
	}))
	if _, err := registry.Gather(); err == nil {
		t.Error("a metric with one label twice was exported")
	}
}

var tableRow = regexp.MustCompile("(?m)^\\| `redstart\\.[a-z_.]+` \\| `(redstart_[a-z_]+)` \\|")

// A run of all patterns exports each metric of docs/metrics.md and no other.
func TestExportedNamesAreTheDocumentedNames(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range tableRow.FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = true
	}
	if len(documented) < 60 {
		t.Fatalf("found %d metrics in docs/metrics.md: the pattern is wrong", len(documented))
	}
	if got, want := slices.Sorted(maps.Keys(families(t))), slices.Sorted(maps.Keys(documented)); !slices.Equal(got, want) {
		t.Errorf("exported:\n%s\ndocumented:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
