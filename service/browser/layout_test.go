package browser_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// media makes the page use other features of the display, such as a dark theme.
func (v *visitor) media(features ...string) {
	v.t.Helper()
	var params emulation.SetEmulatedMediaParams
	for i := 0; i < len(features); i += 2 {
		params.Features = append(params.Features, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	v.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, params)
		return err
	}))
}

// lowContrast returns the texts of the page whose contrast is below AA of WCAG 2.2: 4.5, or 3 for
// large texts. The ground is the next background colour; texts on patterns have none. Controls that
// are disabled have no minimum.
const lowContrast = `(() => {
	const rgb = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
	const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
		const part = c[i] / 255;
		return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
	}, 0);
	const ground = (node) => {
		for (; node; node = node.parentElement) {
			const style = getComputedStyle(node);
			if (style.backgroundImage !== "none") return null;
			const c = rgb(style.backgroundColor);
			if (c.length === 3 || c[3] > 0) return c;
		}
		return null;
	};
	return [...document.querySelectorAll("body *")].filter((node) => {
		if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) return false;
		if (!node.checkVisibility({ visibilityProperty: true }) || node.matches(":disabled, :disabled *")) return false;
		const style = getComputedStyle(node), back = ground(node);
		if (!back || style.color === style.backgroundColor) return false;
		const [a, b] = [luminance(rgb(style.color)), luminance(back)].sort((x, y) => y - x);
		const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
		return (a + 0.05) / (b + 0.05) < (large ? 3 : 4.5);
	}).map((node) => node.tagName + "#" + node.id + " " + node.textContent.trim().slice(0, 30));
})()`

// cutOff returns the labels of drawings, buttons and figures that are wider than their place.
const cutOff = `[...document.querySelectorAll(".track span, button, .path strong, dt")].filter((node) => {
	if (!node.checkVisibility()) return false;
	const text = document.createRange();
	text.selectNodeContents(node);
	const inner = text.getBoundingClientRect(), outer = node.getBoundingClientRect();
	return inner.right > outer.right && inner.top < outer.bottom; // a label below its mark is out of sight
}).map((node) => node.textContent)`

// The layout tests share a browser and a shop.
func TestPage(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	t.Run("fits each width", func(t *testing.T) { pageFitsEachWidth(t, ada(t, chrome, "Ada", urls[0])) })
	t.Run("without motion", func(t *testing.T) { pageWithoutMotion(t, visit(t, chrome, "visitor", urls[0])) })
	t.Run("without colours", func(t *testing.T) { chartsWithoutColours(t, visit(t, chrome, "visitor", urls[0])) })
	t.Run("by keyboard", func(t *testing.T) { pageByKeyboard(t, ada(t, chrome, "Ada", urls[0]), urls[0]) })
}

// The page fits each width without scrolling sideways, in both themes, with all code and all texts
// of an outage open. Each text has enough contrast, and each field has a label.
func pageFitsEachWidth(t *testing.T, v *visitor) {
	v.click("#read-a")
	v.click("#lock-pause")
	v.until(lastStep("lock-steps", "refused") + ` && !document.getElementById("lock-pause").disabled`)
	v.click("#session-steal")
	v.until(lastStep("session-steps", "thief ended"))
	v.do(chromedp.Evaluate[chromedp.Void](`
		document.querySelectorAll("details").forEach((d) => { d.open = true; });
		const styles = document.styleSheets[0];
		styles.insertRule(".during, .after, .notice { display: grid !important; }", styles.cssRules.length);
	`))
	for _, theme := range []string{"light", "dark"} {
		v.media("prefers-color-scheme", theme)
		v.until(fmt.Sprintf(`matchMedia("(prefers-color-scheme: %s)").matches`, theme))
		for _, width := range []int64{2560, 1920, 1280, 768, 390, 320} {
			v.do(chromedp.EmulateViewport(width, 900))
			// The charts of the wide page overflow until they are drawn again.
			v.until(fmt.Sprintf(`document.documentElement.scrollWidth === %d`, width))
			v.until(`document.querySelectorAll(".plots canvas").length === 7`)
			v.accessible("the page")
			if cut := v.ask(cutOff + `.join(", ")`); cut != "" {
				t.Errorf("%s, %d px: labels that are cut off: %s", theme, width, cut)
			}
			v.until(`!document.getAnimations().length`) // a colour that changes has the contrast of neither
			if low := v.ask(lowContrast + `.join(", ")`); low != "" {
				t.Errorf("%s, %d px: texts with too little contrast: %s", theme, width, low)
			}
			v.shoot(fmt.Sprintf("page-%s-%d", theme, width))
		}
	}
}

// With reduced motion, nothing on the page moves.
func pageWithoutMotion(t *testing.T, v *visitor) {
	moving := `[...document.querySelectorAll("*")]
		.filter((node) => getComputedStyle(node).transitionDuration.split(", ").some((d) => d !== "0s")
		|| getComputedStyle(node).animationName !== "none" || getComputedStyle(node).scrollBehavior === "smooth")
		.map((node) => node.tagName + "#" + node.id).join(", ")`
	v.media("prefers-reduced-motion", "no-preference")
	if v.ask(moving) == "" {
		t.Error("without the preference nothing moves either: the test would not notice")
	}
	v.media("prefers-reduced-motion", "reduce")
	if got := v.ask(moving); got != "" {
		t.Errorf("with reduced motion these elements move: %s", got)
	}
}

// The lines of a chart and their marks in the legend differ without their colours.
func chartsWithoutColours(t *testing.T, v *visitor) {
	v.until(`document.querySelectorAll(".plot .u-legend").length === 7`)
	alike := v.ask(`[...document.querySelectorAll(".plot")].filter((plot) => {
		const marks = [...plot.querySelectorAll(".u-marker")].map((mark) => mark.style.background.replace(/rgb\([^)]*\)|#\w+/g, "colour"));
		return new Set(marks).size < marks.length || !marks.every((mark) => mark.includes("colour"));
	}).map((plot) => plot.textContent).join(", ")`)
	if alike != "" {
		t.Errorf("lines that differ in their colour only: %s", alike)
	}
}

// Tab reaches every control, and the focused control has a visible outline. Each section has a
// link.
func pageByKeyboard(t *testing.T, v *visitor, url string) {
	for _, section := range []string{"cache", "lock", "events", "session", "limit"} {
		link := `document.querySelector('nav a[href="#` + section + `"]')`
		v.do(chromedp.Evaluate[chromedp.Void](link+`.focus()`), chromedp.KeyEvent("\r"))
		v.until(fmt.Sprintf(`location.hash === "#%s"`, section))
		v.until(fmt.Sprintf(`Math.abs(document.getElementById(%q).getBoundingClientRect().top) < innerHeight / 2`, section))
	}
	v.do(chromedp.Navigate(url))
	v.until(`!document.getElementById("account").hidden`)
	want := strings.Fields(v.ask(`[...document.querySelectorAll("a[href], button, input, select, summary, pre[tabindex]")]
		.filter((node) => node.checkVisibility() && !node.matches(":disabled"))
		.map((node, i) => { node.dataset.stop ??= "stop-" + i; return node.dataset.stop; }).join(" ")`))
	reached := map[string]bool{}
	for range len(want) + 10 {
		v.do(chromedp.KeyEvent("\t"))
		stop := v.ask(`document.activeElement.dataset.stop ?? ""`)
		if style := v.ask(`getComputedStyle(document.activeElement).outlineStyle`); stop != "" && style == "none" {
			t.Errorf("%q has the focus without a visible outline", v.ask(`document.activeElement.outerHTML`))
		}
		reached[stop] = true
	}
	for _, stop := range want {
		if !reached[stop] {
			t.Errorf("Tab does not reach %s", v.ask(`document.querySelector("[data-stop=`+stop+`]").outerHTML`))
		}
	}
	if len(want) < 40 {
		t.Errorf("the page has only %d controls", len(want))
	}
}
