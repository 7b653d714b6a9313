package browser_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestEditIsSeenAtOnceInASecondInstance(t *testing.T) {
	urls, chrome := shops(t, 2), chrome(t)
	visitor := visit(t, chrome, "visitor", urls[1])
	visitor.logIn("grace@example.com", "redstart")
	visitor.until(text("me") + `.includes("grace@example.com")`)
	visitor.fill("#choose-id", "1")
	visitor.click("#choose button")
	visitor.until(text("name") + ` === "Ada Lovelace"`)
	visitor.click("#choose button") // the second read is served from a cache
	visitor.until(`document.getElementById("source").dataset.source !== "database"`)
	ada := ada(t, chrome, "Ada", urls[0])
	for _, name := range []string{"Augusta Ada King", "Ada, Countess of Lovelace"} {
		ada.fill("#edit-name", name)
		ada.click("#edit button")
		ada.until(text("name") + fmt.Sprintf(" === %q", name))
		// The first read can still be old: the push to the near cache may be in flight.
		rig.Eventually(t, patience, "the edit is seen in the second instance", func() bool {
			reads := visitor.ask(`String(document.querySelector("#reads").dataset.count)`)
			visitor.click("#choose button")
			visitor.until(`document.querySelector("#reads").dataset.count !== "` + reads + `"`)
			return visitor.ask(text("name")) == name
		})
	}
	ada.shoot("logged-in")
	visitor.shoot("edit-in-a-second-instance")
}

func TestOrderIsProcessedOnceByTwoInstances(t *testing.T) {
	urls, chrome := shops(t, 2), chrome(t)
	here, there := ada(t, chrome, "Ada here", urls[0]), ada(t, chrome, "Ada there", urls[1])
	here.expect("409") // the second click is refused
	there.expect("409")
	here.fill("#order-item", "Difference engine")
	here.click("#order button")
	order := `[...document.querySelectorAll("#orders li")].find((li) => li.textContent.includes("Difference engine"))`
	// Both keep a reference to the button, because the notification of the first click removes it
	// from the other page.
	for _, v := range []*visitor{here, there} {
		v.until(`self.process = ` + order + `?.querySelector("button")`)
	}

	click := chromedp.Evaluate[chromedp.Void](`self.process.click()`)
	done := make(chan error, 1)
	go func() { done <- chromedp.Do(there.ctx, click) }()
	here.do(click)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, v := range []*visitor{here, there} {
		v.until(order + `.dataset.status === "processed"`)
		// Each page shows one notification, because one event was published.
		v.until(`[...document.querySelectorAll("#news li")].filter((li) => li.dataset.what.startsWith("order_processed")).length === 1`)
		if v.ask(text("order-problem")) != "" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("of two clicks %d were refused", refused)
	}
	here.shoot("order-processed-once")
}

func TestNotificationArrivesLive(t *testing.T) {
	urls, chrome := shops(t, 2), chrome(t)
	here, there := ada(t, chrome, "Ada here", urls[0]), ada(t, chrome, "Ada there", urls[1])
	there.fill("#order-item", "Analytical engine")
	there.click("#order button")
	here.until(`[...document.querySelectorAll("#news li")].some((li) => li.textContent.includes("Analytical engine"))`)
	here.shoot("live-notification")
}

func TestRevokedDeviceIsLoggedOut(t *testing.T) {
	urls, chrome := shops(t, 2), chrome(t)
	lost := ada(t, chrome, "lost device", urls[1])
	mine := ada(t, chrome, "my device", urls[0])
	lost.expect("401")
	mine.until(`document.querySelector("#devices button")`)
	mine.click("#devices button")
	mine.until(`document.querySelector("#devices button") === null`)
	lost.until(`!document.getElementById("login").hidden && document.getElementById("stream").dataset.state === "off"`)
	lost.until(text("account-problem") + ` === "This device was logged out."`)
	lost.shoot("revoked-device")
	mine.until(`document.getElementById("stream").dataset.state === "on"`)
}

func TestLimiterSaysWhenToRetry(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	guesser := visit(t, chrome, "guesser", urls[0]).expect("401").expect("429")
	// The guesses are faster than a form, so they reach the limit of the account.
	guesser.do(chromedp.Evaluate[chromedp.Void](`(async () => {
		for (let i = 0; i < 60; i++) {
			const response = await fetch("/api/login", { method: "POST", headers: { "Content-Type": "application/json" },
				body: JSON.stringify({ email: "grace@example.com", password: "guess " + i }) });
			if (response.status === 429) return;
		}
	})()`, chromedp.EvalAwaitPromise))
	guesser.logIn("grace@example.com", "another guess")
	guesser.until(text("account-problem") + `.includes("Too many")`)
	guesser.shoot("limiter")
}

func TestChartsShowTrafficAndAnOutage(t *testing.T) {
	urls, chrome := shops(t, 1, "REDIS_COMMAND_TIMEOUT=500ms"), chrome(t)
	ada := ada(t, chrome, "Ada", urls[0]).expect("503")
	figure := func(name string) string {
		row := fmt.Sprintf(`[...document.querySelectorAll("#figures tr")].find((tr) => tr.textContent.includes(%q))`, name)
		return "Number.parseFloat(" + row + `?.lastChild.textContent ?? "0")`
	}
	ada.fill("#traffic-users", "20")
	ada.click("#traffic button")
	ada.until(samples + " >= 3 && " + figure("requests") + " > 0")
	ada.until(samples + " >= 8 && " + figure("near") + " + " + figure("Redis") + " > 0 && " + figure("handled") + " > 0")
	ada.until(text("latency") + `.includes("3\u00a0ms more")`)
	ada.until(text("near") + `.includes("keeps 100 of 1,000 users in memory")`)
	ada.until(figure("near") + " + " + figure("Redis") + " > 80") // the caches are warm
	healthy := ada.least(figure("p50"))
	ada.shoot("plots")
	ada.click("#break")
	ada.until(`document.getElementById("state").dataset.breaker === "open"`)
	ada.until(`document.getElementById("break").getAttribute("aria-pressed") === "true"`)
	// An action that needs a login is refused with an error text, and no user is logged out.
	ada.click("#order button")
	ada.until(text("order-problem") + `.includes("Try again")`)
	ada.until(`!document.getElementById("outage").hidden && document.getElementById("login").hidden`)
	// The near cache and the database serve reads. Redis serves none.
	ada.until(figure("requests") + " > 0 && !(" + figure("Redis") + " > 0)")
	stopped := ada.least(figure("p50"))
	t.Logf("p50 with Redis %g ms, without %g ms", healthy, stopped)
	// Each load waits for the simulated latency. Less means that most answers came from memory.
	if stopped < 3 {
		t.Errorf("half of the requests took %g ms without Redis; want at least the 3 ms of the database", stopped)
	}
	if healthy > stopped/2 {
		t.Errorf("half of the requests took %g ms with Redis and %g ms without it; want less than half with it", healthy, stopped)
	}
	for _, median := range []string{"p50-healthy", "p50-stopped"} {
		ada.until(`Number.parseFloat(` + text(median) + `) > 0`)
	}
	ada.shoot("outage")
	// A page that is loaded during the outage shows no login form.
	ada.do(chromedp.Reload())
	ada.until(text("account-problem") + `.includes("Sessions are unavailable") && document.getElementById("login").hidden`)
	ada.until(`document.getElementById("break").getAttribute("aria-pressed") === "true"`)
	ada.click("#break")
	ada.until(`document.getElementById("state").dataset.breaker === "closed" && document.getElementById("outage").hidden`)
	// without a click
	ada.until(`document.getElementById("stream").dataset.state === "on" && !document.getElementById("account").hidden`)
	ada.click("#traffic-stop")
	ada.until(text("state") + `.startsWith("No virtual users")`)
	ada.click("#order button")
	ada.until(text("order-problem") + ` === ""`)
}
