package browser_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/redstart-go/redstart/lock"
)

// consolePages are the pages of the console, with the arguments that fill them.
var consolePages = []struct{ name, path string }{
	{"overview", "/"},
	{"caches", "/caches"},
	{"explain", "/caches?cache=users&key=user:1"},
	{"limiters", "/limits"},
	{"limits", "/limits?limiter=api&key=ada"},
	{"locks", "/locks"},
	{"lock", "/locks?name=invoice:2026-11"},
	{"semaphore", "/locks?name=exports&kind=semaphore"},
	{"sessions", "/sessions?user=" + url.QueryEscape("ada@example.com")},
	{"events", "/events"},
	{"group", "/events?bus=orders&group=warehouse"},
	{"idempotency", "/idempotency?executor=orders&scope=ada&key=k-1"},
	{"server", "/server"},
}

// isLive is true while the page receives updates.
const isLive = `document.getElementById("live").dataset.state === "on"`

// points returns an expression for the number of points of a line.
func points(line string) string {
	return fmt.Sprintf(`(document.querySelector(%q)?.getAttribute("d").match(/[ML]/g) ?? []).length`, line)
}

// Each page fits a wide window and a phone, in light and dark. Its controls have names, its
// headings have an order, its texts have contrast, and the console of the browser stays empty.
func TestConsolePages(t *testing.T) {
	for _, theme := range []string{"light", "dark"} {
		t.Run(theme, func(t *testing.T) {
			var options []chromedp.ExecAllocatorOption
			if theme == "dark" {
				options = append(options, chromedp.Flag("blink-settings", "preferredColorScheme=0"))
			}
			w, chrome := newWorked(t), chrome(t, options...)
			v := visit(t, chrome, "operator", w.url+"/events")
			v.until(isLive)
			v.until(points(".spark .s1") + " > 4") // the plot of the lag begins when its page is opened
			v.do(chromedp.Navigate(w.url + "/"))
			v.until(points(".chart .s1") + " > 7")
			for _, p := range consolePages {
				v.do(chromedp.EmulateViewport(1280, 800), chromedp.Navigate(w.url+p.path))
				v.until(isLive)
				v.until(`!document.body.textContent.includes("The first reading is not finished")`)
				v.accessible(p.name)
				v.spoken(p.name)
				v.shoot("console-" + p.name + "-" + theme)
				v.do(chromedp.EmulateViewport(2560, 1440))
				v.until(`document.documentElement.scrollWidth <= 2560`)
				v.do(chromedp.EmulateViewport(320, 640))
				v.until(`document.documentElement.scrollWidth <= 320`)
				v.spoken(p.name + " on a phone")
				v.shoot("console-" + p.name + "-" + theme + "-phone")
				v.readable(p.name + " on a phone")
				v.do(chromedp.EmulateViewport(1280, 800))
				v.readable(p.name)
			}
		})
	}
}

// accessible checks names and headings of a page.
func (v *visitor) accessible(page string) {
	v.t.Helper()
	for what, expression := range map[string]string{
		"fields without a label": `[...document.querySelectorAll("input:not([type=hidden]), select")]
			.filter((field) => !field.labels.length && !field.ariaLabel).map((field) => field.name)`,
		"images without a name": `
			[...document.querySelectorAll("svg[role=img]")].filter((svg) => !svg.ariaLabel).map((svg) => svg.outerHTML)`,
		"sections without a title": `[...document.querySelectorAll("main section")]
			.filter((s) => !document.getElementById(s.getAttribute("aria-labelledby"))).map((s) => s.textContent)`,
		"double ids": `[...document.querySelectorAll("[id]")].map((e) => e.id).filter((id, i, all) => all.indexOf(id) !== i)`,
	} {
		if found := v.ask(expression + `.join(", ")`); found != "" {
			v.t.Errorf("%s has %s: %s", page, what, found)
		}
	}
}

// An operator repairs by keyboard: no pointer and no script of the test touches the controls.
func TestConsoleRepairByKeyboard(t *testing.T) {
	w, chrome := newWorked(t), chrome(t)
	v := visit(t, chrome, "operator", w.url+"/locks?name=invoice:2026-11")
	v.until(isLive)
	if held := v.ask(`document.querySelector("[data-part=lock] tbody code").textContent`); held != "billing-7f9c" {
		t.Fatalf("the lock is held by %q", held)
	}
	reach := func(text string) {
		t.Helper()
		for range 60 {
			v.do(chromedp.KeyEvent("\t"))
			if strings.Contains(v.ask(`document.activeElement.textContent`), text) && v.ask(`document.activeElement.tagName`) != "BODY" {
				if outline := v.ask(`getComputedStyle(document.activeElement).outlineStyle`); outline == "none" {
					t.Errorf("%q has the focus without a visible outline", text)
				}
				return
			}
		}
		t.Fatalf("Tab does not reach %q", text)
	}
	reach("Break …")
	v.do(chromedp.KeyEvent("\r"))
	v.until(`document.querySelector("details[open]")`)
	v.until(`document.getElementById("live").dataset.state === "held"`)
	v.shoot("console-lock-ask")
	reach("Break")
	v.do(chromedp.KeyEvent("\r"))
	v.until(`document.querySelector(".message.good")?.textContent.includes("The lock was broken.")`)
	v.until(`document.querySelector("[data-part=lock] tbody code")?.textContent === "billing-b21a"`)
	v.shoot("console-lock-broken")
}

// The focus stays on the repair of its row while the page changes. Otherwise Enter would repair
// another row, whose controls have the same texts.
func TestConsoleKeepsTheFocusInItsRow(t *testing.T) {
	w, chrome := newWorked(t), chrome(t)
	v := visit(t, chrome, "operator", w.url+"/sessions?manager=web&user="+url.QueryEscape("ada@example.com"))
	v.until(isLive)
	const row = `[data-part=sessions] tbody tr:nth-child(3)`
	device := v.ask(`document.querySelector("` + row + ` [data-label=Device]").textContent`)
	v.ask(`String(document.querySelector("` + row + ` summary").focus())`)
	for range 3 {
		v.ask(`document.querySelector("[data-part=sessions]").dataset.seen = "yes"`)
		v.until(`document.querySelector("[data-part=sessions]").dataset.seen === undefined`) // the part was replaced
		got := v.ask(`document.activeElement.closest("tr")?.querySelector("[data-label=Device]").textContent ?? "none"`)
		if got != device {
			t.Fatalf("the focus moved from the row of %s to the row of %s", device, got)
		}
	}
	v.do(chromedp.KeyEvent("\r"))
	v.until(`document.querySelector("` + row + ` details[open]")`)
}

// A page in the background has no stream, so that many tabs of one browser work. It is live again
// when it is visible.
func TestConsolePausesInTheBackground(t *testing.T) {
	w, chrome := newWorked(t), chrome(t)
	v := visit(t, chrome, "operator", w.url+"/locks")
	other := visit(t, chrome, "second operator", w.url+"/locks")
	v.until(isLive)
	hide := func(hidden bool) {
		v.ask(fmt.Sprintf(`Object.defineProperty(document, "hidden", { value: %v, configurable: true });
			document.dispatchEvent(new Event("visibilitychange")); "done"`, hidden))
	}
	hide(true)
	v.until(`document.getElementById("live").textContent === "Paused in the background"`)

	locker := must(lock.New(w.client, lock.Options{TTL: 30 * time.Second, Process: "cron-1"}))(t)
	held := must(locker.Acquire(t.Context(), "cleanup"))(t)
	defer func() { must(0, held.Release(context.Background()))(t) }()
	const shows = `document.querySelector("[data-part=locks]").textContent.includes("cleanup")`
	other.until(shows)
	if v.ask("String("+shows+")") != "false" {
		t.Error("a page in the background received an update")
	}
	hide(false)
	v.until(isLive + " && " + shows)
}

// Selected dead letters are redriven, and their number falls without a reload.
func TestConsoleDropsSelectedDeadLetters(t *testing.T) {
	w, chrome := newWorked(t), chrome(t)
	v := visit(t, chrome, "operator", w.url+"/events?bus=orders&group=warehouse")
	other := visit(t, chrome, "second operator", w.url+"/events?bus=orders&group=warehouse")
	rows := `document.querySelectorAll("[data-part=dead] tbody tr").length`
	for _, page := range []*visitor{v, other} {
		page.until(isLive)
		page.until(rows + " === 6")
	}
	v.click(`[data-part=dead] tbody tr:nth-child(1) input`)
	v.click(`[data-part=dead] tbody tr:nth-child(2) input`)
	v.shoot("console-dead-selected")
	v.click(`[data-part=dead] details.ask summary`)
	v.click(`[data-part=dead] button[formaction]`)
	v.until(`document.querySelector(".message.good")?.textContent.includes("2 dead letters were dropped.")`)
	other.until(rows + " === 4")
	for _, page := range []*visitor{v, other} {
		page.until(fmt.Sprint(rows, " === 4"))
	}
}

// The demo of the shop has the console.
func TestConsoleOfTheShop(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	v := visit(t, chrome, "operator", urls[0]+"/console")
	v.until(isLive + ` && document.querySelectorAll(".chart").length >= 5`)
	v.shoot("console-shop")
}
