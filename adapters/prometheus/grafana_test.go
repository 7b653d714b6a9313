package redstartprom_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"

	redstartprom "github.com/redstart-go/redstart/adapters/prometheus"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/allmetrics"
)

const (
	boardFile = "../../deploy/grafana/redstart.json"
	rulesFile = "../../deploy/grafana/redstart.rules.yaml"
	rulesTest = "../../deploy/grafana/redstart.rules.test.yaml"
	guide     = "../../docs/guides/operating.md"
)

// query is one PromQL expression of the dashboard or the alerts.
type query struct{ from, expr string }

type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(read(t, rulesFile)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no alert", rulesFile)
	}
	return all
}

type board struct {
	Templating struct {
		List []struct {
			Name, Definition string
		}
	}
	Panels []struct {
		ID      int
		Title   string
		Type    string
		Targets []struct{ Expr string }
		GridPos struct{ H, W, X, Y int }
	}
}

func dashboard(t *testing.T) (b board) {
	t.Helper()
	if err := json.Unmarshal(read(t, boardFile), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// boardQueries returns the expressions of the dashboard, with values for the variables of Grafana.
func boardQueries(t *testing.T) (all []query) {
	t.Helper()
	values := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, query{"panel " + p.Title, values.Replace(target.Expr)})
		}
	}
	return all
}

func allQueries(t *testing.T) []query {
	t.Helper()
	all := boardQueries(t)
	for _, v := range dashboard(t).Templating.List {
		if v.Definition != "" {
			all = append(all, query{"variable " + v.Name, v.Definition})
		}
	}
	for _, a := range alerts(t) {
		all = append(all, query{"alert " + a.Alert, a.Expr})
	}
	return all
}

var (
	selector = regexp.MustCompile(`\b(redstart_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// A run of all patterns on a real server emits each metric that the dashboard or an alert names,
// with each label, and each value of a label that the program does not choose.
func TestDashboardAndAlertsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	families := families(t)
	named := map[string]bool{}
	for _, q := range allQueries(t) {
		for _, finding := range findings(q.expr, families, named) {
			t.Errorf("%s: %s\n%s", q.from, finding, q.expr)
		}
	}
	if len(named) < 30 {
		t.Errorf("the dashboard and the alerts name %d metrics: the pattern is wrong", len(named))
	}
}

func TestUnknownMetricsLabelsAndValuesAreFound(t *testing.T) {
	t.Parallel()
	families := families(t)
	for expr, want := range map[string]string{
		`rate(redstart_cache_loads_total{job="x",cache=~".*"}[5m])`:                  "",
		`rate(redstart_cache_load_total[5m])`:                                        "redstart_cache_load_total",
		`redstart_lock_hold_seconds_bucket`:                                          "",
		`redstart_lock_held_bucket`:                                                  "redstart_lock_held_bucket",
		`redstart_lock_held{cache="x"}`:                                              "label cache",
		`sum by (le, cache) (redstart_lock_held)`:                                    "label cache",
		`redstart_session_loads_total{outcome="unavailable"}`:                        "",
		`redstart_session_loads_total{outcome="down"}`:                               `"down"`,
		`redstart_idempotency_unrecorded_total{reason=~"lost|unstoredd"}`:            `"unstoredd"`,
		`rate(redstart_cache_requests_total{cache="mine",result!="miss"}[5m]) > 0.1`: "",
	} {
		got := strings.Join(findings(expr, families, map[string]bool{}), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: found %q, want %q", expr, got, want)
		}
	}
}

// findings reports what an expression names and no family has. It adds the metrics to named.
func findings(expr string, families map[string]*dto.MetricFamily, named map[string]bool) (all []string) {
	labels := map[string]bool{"job": true, "instance": true, "le": true} // of Prometheus
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		f := families[m[1]]
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if base := families[strings.TrimSuffix(m[1], suffix)]; f == nil && base.GetType() == dto.MetricType_HISTOGRAM {
				f = base
			}
		}
		if f == nil {
			all = append(all, "no metric "+m[1])
			continue
		}
		named[f.GetName()] = true
		values := valuesOf(f)
		for name := range values {
			labels[name] = true
		}
		for _, one := range matcher.FindAllStringSubmatch(m[2], -1) {
			name, value := one[1], one[3]
			if !labels[name] {
				all = append(all, m[1]+" has no label "+name)
			}
			if name != "outcome" && name != "result" && name != "reason" && name != "pattern" {
				continue // the program chooses the values
			}
			for v := range strings.SplitSeq(value, "|") {
				if !values[name][v] {
					all = append(all, fmt.Sprintf("%s has no %s %q", m[1], name, v))
				}
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(g[1], ",") {
			if name = strings.TrimSpace(name); !labels[name] {
				all = append(all, "no metric of the expression has the label "+name)
			}
		}
	}
	return all
}

func valuesOf(f *dto.MetricFamily) map[string]map[string]bool {
	values := map[string]map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if values[l.GetName()] == nil {
				values[l.GetName()] = map[string]bool{}
			}
			values[l.GetName()][l.GetValue()] = true
		}
	}
	return values
}

// families returns what a run of all patterns on a real server exports, by name.
func families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	observer := redstartprom.NewObserver(redstartprom.Options{})
	client := open(t, observer)
	allmetrics.Emit(t, client)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(observer, redstartprom.NewCollector(client.Metrics()))
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range gathered {
		byName[f.GetName()] = f
	}
	return byName
}

// Each alert has a severity, a runbook that exists, and a row in the tables of the guide. The guide
// has no row without an alert.
func TestAlertsHaveRunbooks(t *testing.T) {
	t.Parallel()
	text := string(read(t, guide))
	inGuide := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| .* \\| \\[`(Redstart\\w+)`\\]\\(#(\\w+)\\) \\|").FindAllStringSubmatch(text, -1) {
		inGuide[row[1]] = true
		if row[2] != strings.ToLower(row[1]) {
			t.Errorf("%s links to #%s", row[1], row[2])
		}
	}
	for _, a := range alerts(t) {
		if !inGuide[a.Alert] {
			t.Errorf("the guide has no row for %s", a.Alert)
		}
		delete(inGuide, a.Alert)
		if !strings.Contains(text, "\n### "+a.Alert+"\n") {
			t.Errorf("the guide has no runbook for %s", a.Alert)
		}
		want := "https://github.com/redstart-go/redstart/blob/main/docs/guides/operating.md#" + strings.ToLower(a.Alert)
		if a.Annotations["runbook_url"] != want {
			t.Errorf("%s: the runbook is %s, want %s", a.Alert, a.Annotations["runbook_url"], want)
		}
		if s := a.Labels["severity"]; s != "page" && s != "ticket" || a.Annotations["summary"] == "" || a.For == "" {
			t.Errorf("%s: severity %q, summary %q, for %q", a.Alert, s, a.Annotations["summary"], a.For)
		}
	}
	if len(inGuide) > 0 {
		t.Errorf("the guide has rows without an alert: %v", slices.Sorted(maps.Keys(inGuide)))
	}
}

// The panels have unique ids and do not overlap.
func TestDashboardPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q: id %d, %d queries", p.Title, p.ID, len(p.Targets))
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("the panels %q and %q overlap, or are wider than the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// promtool accepts the alerts and each expression of the dashboard, and the unit tests of the
// alerts pass: each alert fires for the bad series and for no other.
func TestPromtoolAcceptsTheAlertsAndTheDashboard(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)

	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for i, q := range boardQueries(t) {
		rules = append(rules, rule{fmt.Sprintf("board:query:%d", i), q.expr})
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "board", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	queries := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(queries, content, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", rulesFile},
		{"check", "rules", "--lint=all", "--lint-fatal", queries},
		{"test", "rules", rulesTest},
	} {
		command := exec.CommandContext(t.Context(), "promtool", args...)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v (scripts/setup all installs promtool)\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert has a unit test.
func TestAlertsHaveUnitTests(t *testing.T) {
	t.Parallel()
	text := string(read(t, rulesTest))
	for _, a := range alerts(t) {
		if !strings.Contains(text, "alertname: "+a.Alert+"\n") {
			t.Errorf("%s has no test for %s", rulesTest, a.Alert)
		}
	}
}
