package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/bench/callers"
)

// payloadCallers is the number of callers in the charts by payload.
const payloadCallers = 16

// writeCharts writes one SVG per work of the measured rows into a folder, and a page with all
// charts. It returns the names of the charts.
func writeCharts(folder string, chosen []callerRow, measured samples) (names []string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	for _, work := range callers.Works {
		var rows []callerRow
		for _, r := range chosen {
			if r.work.Name == work.Name {
				rows = append(rows, r)
			}
		}
		if len(rows) == 0 {
			continue
		}
		c, err := chartOf(work, rows, measured)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			return nil, err
		}
		name := chartName(work)
		if err := os.WriteFile(filepath.Join(folder, name), b.Bytes(), 0o644); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, os.WriteFile(filepath.Join(folder, "README.md"), []byte(chartsPage()), 0o644)
}

// chartsPage returns the page with all charts. It has no figures, so that a run of one pattern
// leaves it as it is.
func chartsPage() string {
	var b strings.Builder
	b.WriteString("# Charts\n\n" +
		"`make bench` draws these charts. Each one compares an operation of Redstart with another library: by the number of\n" +
		"concurrent callers, on a cluster, and by payload. [bench/RESULTS.md](../../bench/RESULTS.md) has all figures, and\n" +
		"describes the machine.\n")
	for _, work := range callers.Works {
		fmt.Fprintf(&b, "\n## %s: %s\n\n![calls per second and p99, compared with %s](%s)\n", work.Pattern, work.What, work.Rival,
			chartName(work))
	}
	return b.String()
}

func chartName(work callers.Work) string { return work.Pattern + "-" + work.Name + ".svg" }

// chartOf returns the chart of a work: calls per second and p99 by callers, on one server and on a
// cluster, and by payload if the work has one.
func chartOf(work callers.Work, rows []callerRow, measured samples) (chart, error) {
	c := chart{title: work.Pattern + ": " + work.What, rival: work.Rival}
	smallest := work.Cases()[0].Bytes
	for _, part := range []struct {
		title, axis string
		use         func(callers.Case) bool
		category    func(callers.Case) string
	}{
		{"one server", "concurrent callers",
			func(c callers.Case) bool { return c.Place == callers.Standalone && c.Bytes == smallest }, byCallers},
		{"cluster of 3 primaries", "concurrent callers",
			func(c callers.Case) bool { return c.Place == callers.Cluster }, byCallers},
		{fmt.Sprintf("one server, %d callers", payloadCallers), "payload",
			func(c callers.Case) bool {
				return c.Place == callers.Standalone && c.Callers == payloadCallers && len(work.Payloads) > 1
			}, func(c callers.Case) string { return payload(c.Bytes) }},
	} {
		rate := panel{title: part.title + ": calls per second, more is better", axis: part.axis, label: amountPerSecond}
		slow := panel{title: part.title + ": p99, less is better", axis: part.axis,
			label: shortDuration}
		for _, r := range rows {
			if !part.use(r.at) {
				continue
			}
			if err := rate.add(part.category(r.at), r, perOp, measured); err != nil {
				return c, err
			}
			if err := slow.add(part.category(r.at), r, p99, measured); err != nil {
				return c, err
			}
		}
		if len(rate.categories) > 0 {
			c.panels = append(c.panels, rate, slow)
		}
	}
	return c, nil
}

func byCallers(c callers.Case) string { return strconv.Itoa(c.Callers) }

// add adds a category with the medians of both libraries. Times per call become calls per second.
func (p *panel) add(category string, r callerRow, unit string, measured samples) error {
	ours, _, _, err := measured.median(r.figure(callers.Redstart, unit))
	if err != nil {
		return err
	}
	theirs, _, _, err := measured.median(r.figure(callers.Rival, unit))
	if err != nil {
		return err
	}
	if unit == perOp {
		ours, theirs = 1e9/ours, 1e9/theirs
	}
	p.categories = append(p.categories, category)
	p.ours, p.theirs = append(p.ours, ours), append(p.theirs, theirs)
	return nil
}

// shortDuration formats a time in µs so that the labels of two bars fit next to each other.
func shortDuration(v float64) string {
	unit := " µs"
	switch {
	case v >= 1e6:
		v, unit = v/1e6, " s"
	case v >= 1e3:
		v, unit = v/1e3, " ms"
	}
	if v < 10 {
		return fmt.Sprintf("%.1f%s", v, unit)
	}
	return fmt.Sprintf("%.0f%s", v, unit)
}

// amountPerSecond formats a rate: 950, 12.3k, 1.2M.
func amountPerSecond(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}
