package browser_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// smoke is the browser test of the tier server, if Chromium is installed.
const smoke = "TestNotificationArrivesLive"

// patience is the timeout of a step on a loaded machine.
const patience = 30 * time.Second

// chrome starts a browser, which ends with the test. Each visitor has its own cookies.
func chrome(t *testing.T, options ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if t.Name() != smoke || err != nil {
		rig.Need(t, rig.TierAll)
	}
	if err != nil {
		t.Fatal("the browser tests need Chromium: apt-get install -y chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.NoSandbox, // the sandbox does not work for root, and tests in containers often run as root
		chromedp.WSURLReadTimeout(patience))
	opts = append(opts, options...)
	ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser did not end: %v", err)
		}
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil { // starts the browser, which needs a context of its own
		t.Fatal(err)
	}
	return ctx
}

// visitor is a person with separate cookies and one page, whose console must stay empty.
type visitor struct {
	t    *testing.T
	name string
	ctx  context.Context

	mu      sync.Mutex
	console []string
	// Responses that the test provokes. The browser writes them to the console.
	expected []string
}

// step is an action of a visitor.
type step = chromedp.Action[chromedp.Void]

// visit opens a page for a new visitor, in a window of 1280 pixels.
func visit(t *testing.T, chrome context.Context, name, url string) *visitor {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chrome, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	v := &visitor{t: t, name: name, ctx: ctx}
	heard := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	messages := chromedp.Console(ctx)
	go func() {
		defer close(heard)
		for message, err := range messages {
			if err != nil {
				return
			}
			v.hear(message)
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			_ = v.picture("failed-" + t.Name() + "-" + v.name) // the test has failed already
		}
		stop()
		<-heard
		for _, line := range v.console {
			t.Errorf("%s's console: %s", v.name, line)
		}
	})
	v.media("prefers-reduced-motion", "reduce") // a click would miss a page that scrolls
	v.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url))
	return v
}

func (v *visitor) hear(m chromedp.ConsoleMessage) {
	if m.Type != chromedp.ConsoleError && m.Type != chromedp.ConsoleWarning && !m.IsException() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.ContainsFunc(v.expected, func(text string) bool { return strings.Contains(m.Text, text) }) {
		v.console = append(v.console, fmt.Sprintf("%v (%s)", m, m.URL))
	}
}

// expect adds a text that may appear on the console.
func (v *visitor) expect(text string) *visitor {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.expected = append(v.expected, text)
	return v
}

// do runs steps in the browser, within patience.
func (v *visitor) do(steps ...step) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		v.t.Fatal(err)
	}
}

// ask evaluates a JavaScript expression that returns a string.
func (v *visitor) ask(expression string) string {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	answer, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		v.t.Fatalf("%s: %v", expression, err)
	}
	return answer
}

// until waits until a JavaScript condition is true on the page. It is evaluated from outside,
// because the policy of the page forbids eval.
func (v *visitor) until(condition string) {
	v.t.Helper()
	rig.Eventually(v.t, patience, condition, func() bool { return v.ask("String(Boolean("+condition+"))") == "true" })
}

// least waits for eight more samples of the charts and returns the least value of a figure: that of
// the second in which other programs of the machine disturbed the shop least.
func (v *visitor) least(figure string) float64 {
	v.t.Helper()
	figures := make([]float64, 8)
	for i := range figures {
		before := v.ask("String(" + samples + ")")
		v.until(samples + " > " + before)
		value, err := strconv.ParseFloat(v.ask("String("+figure+")"), 64)
		if err != nil {
			v.t.Fatal(err)
		}
		figures[i] = value
	}
	return slices.Min(figures)
}

// fill types into a field and replaces its content.
func (v *visitor) fill(field, value string) {
	v.t.Helper()
	v.do(chromedp.SetValue(field, value))
}

func (v *visitor) click(selector string) {
	v.t.Helper()
	v.do(chromedp.Click(selector))
}

// logIn fills and submits the login form.
func (v *visitor) logIn(email, password string) {
	v.t.Helper()
	v.do(chromedp.WaitVisible("#login"))
	v.fill("#login-email", email)
	v.fill("#login-password", password)
	v.click("#login button")
}

// ada opens the page and logs the sample user in.
func ada(t *testing.T, chrome context.Context, name, url string) *visitor {
	t.Helper()
	v := visit(t, chrome, name, url)
	v.asAda()
	return v
}

// asAda logs the sample user in on the open page.
func (v *visitor) asAda() {
	v.t.Helper()
	v.logIn("ada@example.com", "redstart")
	v.until(text("me") + `.includes("ada@example.com")`)
	v.until(`document.getElementById("stream").dataset.state === "on"`)
}

// samples is the number of seconds in the charts, at most 90.
const samples = `Number(document.getElementById("plots").dataset.samples ?? 0)`

func text(id string) string { return fmt.Sprintf("document.getElementById(%q).textContent", id) }

// shoot stores a screenshot of the whole page.
func (v *visitor) shoot(name string) {
	v.t.Helper()
	if err := v.picture(name); err != nil {
		v.t.Fatal(err)
	}
}

// shootSection stores a screenshot of one section.
func (v *visitor) shootSection(id, name string) {
	v.t.Helper()
	if err := keep(name, v.section(id)); err != nil {
		v.t.Fatal(err)
	}
}

// keep writes a picture to the folder artifacts.
func keep(name string, png []byte) error {
	dir := filepath.Join("..", "..", "artifacts")
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

func (v *visitor) picture(name string) error {
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	// sticky elements return to the top
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`scrollTo({ top: 0, behavior: "instant" })`)); err != nil {
		return err
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return err
	}
	return keep(name, png)
}
