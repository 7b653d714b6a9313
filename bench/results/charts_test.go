package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/bench/callers"
)

// TestCharts draws the charts of all works from made-up figures, and reads them as XML.
func TestCharts(t *testing.T) {
	measured, folder := samples{}, t.TempDir()
	for i, r := range callerRows() {
		for _, f := range r.figures() {
			measured[f] = []float64{float64(1000 * (i + 1))}
			if i%4 == 0 { // next to the others, such a bar has less than one pixel
				measured[f] = []float64{1}
			}
		}
	}
	names, err := writeCharts(folder, callerRows(), measured)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != len(callers.Works) {
		t.Fatalf("%d charts of %d works", len(names), len(callers.Works))
	}
	page, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(page), "]("+name+")") {
			t.Errorf("the page does not show %s", name)
		}
	}
	for i, work := range callers.Works {
		text, err := os.ReadFile(filepath.Join(folder, names[i]))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"prefers-color-scheme:dark", "128", "cluster", work.Rival, "<title>" + work.Pattern} {
			if !strings.Contains(string(text), escape(want)) && !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", names[i], want)
			}
		}
		if byPayload := strings.Contains(string(text), "1 MB"); byPayload != (len(work.Payloads) > 0) {
			t.Errorf("%s: a panel by payload: %v", names[i], byPayload)
		}
		checkBars(t, names[i], string(text))
	}
}

// checkBars fails if a bar is outside of the picture or as high as the text above it needs, or if
// two bars of a panel overlap.
func checkBars(t *testing.T, name, text string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	bars, rightEdge, lastBase := 0, 0.0, 0.0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s is not XML: %v", name, err)
		}
		element, ok := token.(xml.StartElement)
		if !ok || element.Name.Local != "rect" {
			continue
		}
		at := map[string]float64{}
		for _, a := range element.Attr {
			if v, err := strconv.ParseFloat(a.Value, 64); err == nil {
				at[a.Name.Local] = v
			}
		}
		if at["height"] == 14 || at["width"] == chartWidth { // the legend, the background
			continue
		}
		bars++
		if at["height"] < 1 || at["height"] > barsHeight || at["x"] < 0 || at["x"]+at["width"] > chartWidth {
			t.Errorf("%s: a bar at %v", name, at)
		}
		if base := at["y"] + at["height"]; math.Abs(base-lastBase) < 0.3 && at["x"] > rightEdge-at["width"] && at["x"] < rightEdge {
			t.Errorf("%s: two bars overlap at %v", name, at)
		} else {
			lastBase, rightEdge = base, at["x"]+at["width"]
		}
	}
	if bars < 2*(4+3)*2 {
		t.Errorf("%s has %d bars, want at least 28", name, bars)
	}
}
