package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/chromedp/chromedp"
)

// axNode is a node of the accessibility tree, which a screen reader speaks.
type axNode struct {
	Ignored    bool       `json:"ignored"`
	Role       axValue    `json:"role"`
	Name       axValue    `json:"name"`
	Properties []axDetail `json:"properties"`
}

type axValue struct {
	Value any `json:"value"`
}

type axDetail struct {
	Name  string  `json:"name"`
	Value axValue `json:"value"`
}

// text returns a value as text, and "" for none.
func (v axValue) text() string {
	if v.Value == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v.Value))
}

// level returns the level of a heading.
func (n axNode) level() string {
	for _, p := range n.Properties {
		if p.Name == "level" {
			return p.Value.text()
		}
	}
	return ""
}

// tree reads the accessibility tree of the page.
func (v *visitor) tree() []axNode {
	v.t.Helper()
	var reply struct {
		Nodes []axNode `json:"nodes"`
	}
	v.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		return target.Call(ctx, "Accessibility.getFullAXTree", struct{}{}, &reply)
	}))
	return reply.Nodes
}

// The roles that need a name: controls, and the parts that a screen reader lists.
var (
	controlRoles = []string{
		"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "switch", "tab", "menuitem",
		"DisclosureTriangle", "DisclosureTriangleGrouped",
	}
	namedRoles    = []string{"navigation", "region", "table", "image", "img", "heading", "columnheader"}
	landmarkRoles = []string{"banner", "navigation", "main"}
)

// spoken checks the accessibility tree: each control has a name, no two repairs have the same one,
// there is one heading of level 1, no level of headings is left out, and there is one of each
// landmark.
func (v *visitor) spoken(page string) {
	v.t.Helper()
	controls, found, questions := 0, map[string]int{}, map[string]bool{}
	level := "0"
	for _, n := range v.tree() {
		role := n.Role.text()
		if n.Ignored {
			continue
		}
		found[role]++
		isControl := slices.Contains(controlRoles, role)
		if isControl {
			controls++
		}
		if (isControl || slices.Contains(namedRoles, role)) && n.Name.text() == "" {
			v.t.Errorf("%s has a %s without a name", page, role)
		}
		if strings.HasPrefix(role, "DisclosureTriangle") {
			if questions[n.Name.text()] {
				v.t.Errorf("%s has two questions with the name %q", page, n.Name.text())
			}
			questions[n.Name.text()] = true
		}
		if role == "heading" {
			next := n.level()
			found["heading "+next]++
			if next > level && next != fmt.Sprint(level[0]-'0'+1) {
				v.t.Errorf("%s has the heading %q of level %s after one of level %s", page, n.Name.text(), next, level)
			}
			level = next
		}
	}
	if controls < 8 {
		v.t.Errorf("%s has %d controls in its accessibility tree, fewer than its navigation has: %v", page, controls, found)
	}
	if found["heading 1"] != 1 {
		v.t.Errorf("%s has %d headings of level 1, want 1", page, found["heading 1"])
	}
	for _, role := range landmarkRoles {
		if found[role] != 1 {
			v.t.Errorf("%s has %d landmarks %s, want 1", page, found[role], role)
		}
	}
}

// contrastScript computes the contrast of each text and of the border of each field, by the formula
// of WCAG 2.2: 4.5 for text, 3 for large text and borders. Its last expression is JSON.
const contrastScript = `(() => {
	const parse = (text) => {
		const match = /^rgba?\(([^)]+)\)$/.exec(text);
		if (!match) throw new Error("unknown colour " + text);
		const [r, g, b, a = 1] = match[1].split(/[\s,\/]+/).map(Number);
		return [r, g, b, a];
	};
	const over = ([r, g, b, a], bed) => [r, g, b].map((c, i) => a * c + (1 - a) * bed[i]).concat(1);
	const luminance = (colour) => {
		const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const ratio = (a, b) => {
		const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
		return (high + 0.05) / (low + 0.05);
	};
	const bed = (element) => {
		const below = element.parentElement ? bed(element.parentElement) : [255, 255, 255, 1];
		return over(parse(getComputedStyle(element).backgroundColor), below);
	};
	const faded = (element) => element && (Number(getComputedStyle(element).opacity) < 1 || faded(element.parentElement));
	const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("datalist, script, option");
	const result = { texts: 0, borders: 0, worst: 99, failures: [] };
	const check = (what, colour, behind, want, kind, element) => {
		result[kind]++;
		const got = ratio(over(parse(colour), behind), behind);
		result.worst = Math.min(result.worst, got / want);
		if (got < want || faded(element)) {
			const name = element.localName + " " + JSON.stringify(what.trim().slice(0, 40));
			result.failures.push(name + " has " + got.toFixed(2) + " of " + want);
		}
	};
	const text = (what, element, style) => {
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700;
		check(what, style.color, bed(element), large ? 3 : 4.5, "texts", element);
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let node; (node = walker.nextNode());) {
		if (node.data.trim() && shown(node.parentElement)) text(node.data, node.parentElement, getComputedStyle(node.parentElement));
	}
	for (const element of document.body.querySelectorAll("*")) {
		if (!shown(element)) continue;
		for (const pseudo of ["::before", "::after"]) {
			const style = getComputedStyle(element, pseudo);
			if (!["none", "normal", '""'].includes(style.content)) text(style.content, element, style);
		}
		if (element.matches("input[type=text], select")) {
			const style = getComputedStyle(element);
			if (element.value) text(element.value, element, style);
			check("border of " + element.name, style.borderTopColor, bed(element.parentElement), 3, "borders", element);
		}
	}
	return JSON.stringify(result);
})()`

type contrast struct {
	Texts    int      `json:"texts"`
	Borders  int      `json:"borders"`
	Worst    float64  `json:"worst"` // the smallest contrast, as a part of what it has to be
	Failures []string `json:"failures"`
}

func (v *visitor) contrast() (c contrast) {
	v.t.Helper()
	if err := json.Unmarshal([]byte(v.ask(contrastScript)), &c); err != nil {
		v.t.Fatal(err)
	}
	return c
}

// readable checks the contrast of a page with all questions open. As the control, the title gets
// the colour of the page, which has to be found.
func (v *visitor) readable(page string) {
	v.t.Helper()
	v.ask(`String(document.querySelectorAll("details").forEach((details) => { details.open = true; }))`)
	c := v.contrast()
	if c.Texts < 20 {
		v.t.Errorf("%s has %d texts: the script does not read the page", page, c.Texts)
	}
	for _, failure := range c.Failures {
		v.t.Errorf("%s: the contrast of %s", page, failure)
	}
	v.t.Logf("%s: %d texts, %d borders, the smallest contrast is %.2f of its limit", page, c.Texts, c.Borders, c.Worst)

	const title = `document.querySelector("h1").style.color`
	v.ask(`String(` + title + ` = getComputedStyle(document.documentElement).backgroundColor)`)
	if control := v.contrast(); len(control.Failures) != len(c.Failures)+1 {
		v.t.Errorf("%s: a title without contrast is not found: %v", page, control.Failures)
	}
	v.ask(`String(` + title + ` = "")`)
}
