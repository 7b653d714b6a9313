package browser_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// consolePages are the pages of the console, with the arguments that fill them.
var consolePages = []struct{ name, path string }{
	{"overview", "/"},
	{"server", "/server"},
}

// visitConsole opens a page of the console of a shop that has had traffic.
func visitConsole(t *testing.T, dark bool) *visitor {
	t.Helper()
	urls := shops(t, 1)
	var options []chromedp.ExecAllocatorOption
	if dark {
		options = append(options, chromedp.Flag("blink-settings", "preferredColorScheme=0"))
	}
	chrome := chrome(t, options...)
	ada := ada(t, chrome, "Ada", urls[0])
	ada.click("#order button")
	ada.fill("#traffic-users", "20")
	ada.click("#traffic button")
	v := visit(t, chrome, "operator", urls[0]+"/console/")
	v.until(`document.getElementById("live").dataset.state === "on"`)
	return v
}

// Each page fits a wide window and a phone, and its console stays empty.
func TestConsolePages(t *testing.T) {
	for _, dark := range []bool{false, true} {
		theme := map[bool]string{false: "light", true: "dark"}[dark]
		t.Run(theme, func(t *testing.T) {
			v := visitConsole(t, dark)
			v.until(`(document.querySelector(".chart .s1")?.getAttribute("d").match(/[ML]/g) ?? []).length > 4`)
			base := v.ask(`location.origin + "/console"`)
			for _, p := range consolePages {
				for name, width := range map[string]int64{"wide": 1280, "phone": 320} {
					v.do(chromedp.EmulateViewport(width, 800), chromedp.Navigate(base+p.path))
					v.until(`document.getElementById("live").dataset.state === "on"`)
					v.until(fmt.Sprintf(`document.documentElement.scrollWidth <= %d`, width))
					v.shoot(fmt.Sprintf("console-%s-%s-%s", p.name, theme, name))
				}
			}
		})
	}
}
