package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// panel is a chart of two series of bars over the same categories.
type panel struct {
	title      string
	axis       string // what the categories are
	categories []string
	ours       []float64
	theirs     []float64
	label      func(value float64) string
}

// chart is a picture with panels in two columns.
type chart struct {
	title  string
	rival  string
	panels []panel
}

const (
	chartWidth  = 900
	panelWidth  = 400
	panelHeight = 220
	gap         = 40
	headHeight  = 70
	barsHeight  = 130 // of the highest bar
)

// style has the colours for light and for dark pages. Blue and orange differ for all kinds of
// colour vision, and in lightness too. The rival's bars have an outline as well.
const style = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}
.t{font-size:17px;font-weight:600}.h{font-weight:600}.v{font-size:11px}.back{fill:#fff}.axis{stroke:#59636e}
.ours{fill:#0072b2}.theirs{fill:#e69f00;stroke:#7a5200;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.back{fill:#0d1117}.axis{stroke:#9198a1}
.ours{fill:#56b4e9}.theirs{fill:#b37a00;stroke:#ffc94d}}
</style>
`

// write prints the chart as SVG.
func (c chart) write(w io.Writer) error {
	var b strings.Builder
	rows := (len(c.panels) + 1) / 2
	height := headHeight + rows*(panelHeight+gap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">`+"\n", chartWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n%s", escape(c.title), style)
	fmt.Fprintf(&b, `<rect class="back" width="%d" height="%d"/>`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<text class="t" x="%d" y="28">%s</text>`+"\n", gap/2, escape(c.title))
	fmt.Fprintf(&b, `<rect class="ours" x="%d" y="42" width="14" height="14"/><text x="%d" y="54">Redstart</text>`+"\n",
		gap/2, gap/2+20)
	fmt.Fprintf(&b, `<rect class="theirs" x="%d" y="42" width="14" height="14"/><text x="%d" y="54">%s</text>`+"\n",
		gap/2+110, gap/2+130, escape(c.rival))
	for i, p := range c.panels {
		p.draw(&b, gap/2+(i%2)*(panelWidth+gap), headHeight+(i/2)*(panelHeight+gap))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// draw prints a panel with its upper left corner at x, y.
func (p panel) draw(b *strings.Builder, x, y int) {
	base := y + 50 + barsHeight
	fmt.Fprintf(b, `<text class="h" x="%d" y="%d">%s</text>`+"\n", x, y+20, escape(p.title))
	fmt.Fprintf(b, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", x, base, x+panelWidth, base)
	highest := max(slices.Max(p.ours), slices.Max(p.theirs))
	slot := panelWidth / len(p.categories)
	width := slot*2/5 - 2
	for i, category := range p.categories {
		for j, value := range []float64{p.ours[i], p.theirs[i]} {
			tall := 1.0 // a value is visible even next to one that is a thousand times as high
			if highest > 0 {
				tall = max(1, barsHeight*value/highest)
			}
			left := x + i*slot + slot/10 + j*(width+4)
			fmt.Fprintf(b, `<rect class="%s" x="%d" y="%.1f" width="%d" height="%.1f"/>`+"\n",
				[]string{"ours", "theirs"}[j], left, float64(base)-tall, width, tall)
			fmt.Fprintf(b, `<text class="v" text-anchor="middle" x="%d" y="%.1f">%s</text>`+"\n",
				left+width/2, float64(base)-tall-5, escape(p.label(value)))
		}
		fmt.Fprintf(b, `<text text-anchor="middle" x="%d" y="%d">%s</text>`+"\n", x+i*slot+slot/2, base+18, escape(category))
	}
	fmt.Fprintf(b, `<text class="v" text-anchor="middle" x="%d" y="%d">%s</text>`+"\n", x+panelWidth/2, base+36, escape(p.axis))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder has no errors
	return b.String()
}
