package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// chart is a plot of the last minutes. It is SVG without script and without inline style.
type chart struct {
	Title, Unit string
	Lines       []chartLine
}

// chartLine is one line of a chart. Colour and dashes differ between the lines, so that no reader
// depends on colours.
type chartLine struct {
	Label     string
	Series    int // 1 to 4: the class of colour and dashes
	Now, Peak float64
	points    []point
}

// The area of a plot, in units of its view box. Time runs to the right edge.
const (
	plotWidth  = 300.0
	plotHeight = 80.0
)

// window is a length of the time axis. The axis grows with the samples, up to the whole ring.
type window struct {
	millis float64
	Ago    string // the time at the left edge
	spoken string
}

var windows = []window{
	{60e3, "1 min ago", "last minute"}, {120e3, "2 min ago", "last two minutes"}, {300e3, "5 min ago", "last five minutes"},
}

// Window returns the shortest time axis that has all points.
func (c chart) Window() window {
	for _, w := range windows {
		if c.length() <= w.millis {
			return w
		}
	}
	return windows[len(windows)-1]
}

// length returns the time between the first and the last point, in ms.
func (c chart) length() (longest float64) {
	for _, l := range c.Lines {
		if n := len(l.points); n > 0 {
			longest = max(longest, float64(l.points[n-1].at-l.points[0].at))
		}
	}
	return longest
}

func (c *chart) add(label string, r *ring) {
	l := chartLine{Label: label, Series: len(c.Lines)%4 + 1, points: r.points()}
	for _, p := range l.points {
		l.Peak = max(l.Peak, p.value)
	}
	if n := len(l.points); n > 0 {
		l.Now = l.points[n-1].value
	}
	c.Lines = append(c.Lines, l)
}

// Top returns the value at the upper edge: 1, 2 or 5 times a power of ten.
func (c chart) Top() float64 {
	peak := 0.0
	for _, l := range c.Lines {
		peak = max(peak, l.Peak)
	}
	return niceTop(peak)
}

func niceTop(peak float64) float64 {
	if peak <= 1 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(peak)))
	for _, step := range []float64{1, 2, 5} {
		if peak <= step*base {
			return step * base
		}
	}
	return 10 * base
}

// Empty reports whether there are fewer than two points.
func (c chart) Empty() bool {
	for _, l := range c.Lines {
		if len(l.points) > 1 {
			return false
		}
	}
	return true
}

// Spoken describes the chart for screen readers.
func (c chart) Spoken() string {
	parts := make([]string, 0, len(c.Lines))
	for _, l := range c.Lines {
		parts = append(parts, fmt.Sprintf("%s %s, highest %s", l.Label, amount(l.Now), amount(l.Peak)))
	}
	return c.Title + " " + c.Unit + ", " + c.Window().spoken + ". " + strings.Join(parts, "; ") + "."
}

// Path returns the line as an SVG path. A gap of more than two intervals breaks the line.
func (c chart) Path(l chartLine) string {
	if len(l.points) == 0 {
		return ""
	}
	end := l.points[len(l.points)-1].at
	top, width := c.Top(), c.Window().millis
	var b strings.Builder
	for i, p := range l.points {
		at := plotWidth - float64(end-p.at)/width*plotWidth
		if at < 0 {
			continue
		}
		command := "L"
		if b.Len() == 0 || p.at-l.points[i-1].at > 3*interval.Milliseconds() {
			command = "M"
		}
		b.WriteString(command)
		b.WriteString(strconv.FormatFloat(at, 'f', 1, 64))
		b.WriteByte(' ')
		b.WriteString(strconv.FormatFloat(plotHeight-p.value/top*plotHeight, 'f', 1, 64))
		if command == "M" {
			b.WriteString("h0") // a point without a neighbour is a dot
		}
	}
	return b.String()
}
