package browser_test

import (
	"fmt"
	"testing"
)

// Each story shows what its pattern does, with and without Redis. The stories share a browser and a
// shop, and each restores what it stops.
func TestStories(t *testing.T) {
	urls, chrome := shops(t, 1, "REDIS_COMMAND_TIMEOUT=500ms"), chrome(t)
	for _, story := range []struct {
		name string
		run  func(t *testing.T, v *visitor)
	}{
		{"cache", cacheStory}, {"lock", lockStory}, {"events", eventsStory}, {"session", sessionStory}, {"limit", limitStory},
	} {
		t.Run(story.name, func(t *testing.T) {
			v := visit(t, chrome, story.name, urls[0]+"/#"+story.name)
			v.until(fmt.Sprintf(`document.querySelector("#%s:target") !== null`, story.name))
			story.run(t, v)
		})
	}
}

// stopRedis stops Redis, and waits until each section states what that changes.
func (v *visitor) stopRedis() {
	v.t.Helper()
	v.click("#break")
	v.until(`document.getElementById("state").dataset.breaker === "open"`)
	v.until(`[...document.querySelectorAll(".during")].every((text) => !text.hidden)`)
}

// restoreRedis waits until each section states what happened after the outage.
func (v *visitor) restoreRedis() {
	v.t.Helper()
	v.click("#break")
	v.until(`[...document.querySelectorAll(".during")].every((text) => text.hidden)`)
	v.until(`[...document.querySelectorAll(".after")].every((text) => !text.hidden)`)
	v.until(text("recovery") + `.includes("Redis was stopped for")`)
}

// lastStep returns a condition for the last step of a list.
func lastStep(list, what string) string {
	return fmt.Sprintf(`document.querySelector("#%s li:last-child")?.dataset.what === %q`, list, what)
}

// A read comes from the database, from memory, and from Redis through the other instance. A change
// ends the copy of the other instance, and 100 readers cause one load. In an outage, each instance
// loads once.
func cacheStory(_ *testing.T, v *visitor) {
	places := func(want string) string {
		const steps = `[...document.querySelectorAll("#read-steps [data-place]")]`
		return fmt.Sprintf(steps+`.map((li) => li.dataset.place).join(" ") === %q`, want)
	}
	v.click("#read-a")
	v.until(places("network memory redis database store"))
	v.until(text("read-summary") + `.includes("Katherine Johnson") && ` + text("read-summary") + `.includes("from the database")`)
	v.shootSection("cache", "story-cache-database")
	v.click("#read-a")
	v.until(places("network memory"))
	v.click("#read-b")
	v.until(places("network memory redis"))
	v.click("#rename button")
	v.until(text("rename-result") + `.includes("Katherine Goble")`)
	v.until(`document.getElementById("rename-result").dataset.gone === "true"`)
	v.until(`document.querySelector("#copy-b del").textContent === "Katherine Johnson"`)
	v.click("#readers")
	v.until(`document.getElementById("readers-result").dataset.loads === "1"`)
	v.until(`document.querySelectorAll("#crowd .load").length === 1 && document.querySelectorAll("#crowd .shared").length === 99`)
	v.shootSection("cache", "story-cache")

	v.stopRedis()
	v.click("#read-b")
	v.until(text("read-summary") + `.includes("Katherine Goble")`)
	v.click("#readers")
	v.until(`document.getElementById("readers-result").dataset.loads === "2"`)
	v.fill("#rename-name", "Katherine Coleman")
	v.click("#rename button")
	v.until(text("rename-result") + `.includes("Redis did not confirm the invalidation")`)
	v.shootSection("cache", "story-cache-outage")
	v.restoreRedis()
	v.until(`!document.getElementById("read-b").disabled && (document.getElementById("read-b").click(), ` +
		text("read-summary") + `.includes("Katherine Coleman"))`)
	v.shootSection("cache", "story-cache-recovery")
}

// One instance waits for the other. The write of a holder that was paused is refused.
func lockStory(_ *testing.T, v *visitor) {
	v.click("#lock-run")
	v.until(lastStep("lock-steps", "written") + ` && document.getElementById("lock-result").dataset.written === "A"`)
	v.shootSection("lock", "story-lock-wait")
	v.click("#lock-pause")
	v.until(lastStep("lock-steps", "refused") + ` && document.getElementById("lock-result").dataset.written === "A"`)
	v.until(`document.querySelector(".track [data-what=paused]") && document.querySelector(".track [data-what=refused]")`)
	v.until(`document.querySelector("#lock-steps [data-what=holds]").textContent.split("token ")[1].startsWith(
		document.querySelector("#lock-steps [data-what=refused]").textContent.match(/with token (\d+), and Redis refused/)[1])`)
	v.shootSection("lock", "story-lock")
	v.stopRedis()
	v.click("#lock-run")
	v.until(lastStep("lock-steps", "unavailable") + ` && ` + text("lock-result") + `.includes("no result")`)
	v.restoreRedis()
}

// Each hop of the event of an order is reached. A faulty event becomes a dead letter, and is
// handled after a redrive. A window that was offline receives what it has missed.
func eventsStory(_ *testing.T, v *visitor) {
	v.until(`document.querySelector("#events .login-first").checkVisibility()`)
	v.asAda()
	v.until(`!document.querySelector("#events .login-first").checkVisibility()`)
	lit := func(hops int) string {
		return fmt.Sprintf(`document.querySelectorAll("#hops [data-state=done]").length === %d`, hops) +
			` && !document.getElementById("follow").disabled`
	}
	v.click("#follow")
	v.until(lit(4))
	v.click("#poison")
	v.until(lastStep("poison-steps", "handled"))
	v.shootSection("events", "story-events")

	v.click("#offline")
	v.until(`document.getElementById("stream").dataset.state === "lost"`)
	shown := v.ask(`String(document.querySelectorAll("#news li").length)`)
	for missed := 1; missed <= 2; missed++ {
		v.click("#follow")
		v.until(lit(3)) // the hop to this window is missing
		v.until(fmt.Sprintf(`%s.includes("has missed %d event")`, text("offline-result"), missed))
	}
	v.until(`String(document.querySelectorAll("#news li").length) === "` + shown + `"`)
	v.shootSection("events", "story-events-offline")
	v.click("#offline")
	v.until(`document.getElementById("offline-result").dataset.caught === "2"`)
	v.until(lit(4))
	v.until(`document.getElementById("stream").dataset.state === "on"`)
	v.shootSection("events", "story-events-caught-up")
}

// rows has the marks of the drawing of the session story.
const rows = `[...document.querySelectorAll("#session-axes .axis")].map((row) =>
	row.firstChild.textContent + ": " + [...row.lastChild.children].map((mark) => mark.textContent).join(", ")).join("; ")`

// A revoked window is logged out, and so is the window of a thief.
func sessionStory(t *testing.T, v *visitor) {
	for _, act := range []struct{ button, last, window, drawn string }{
		{"#session-revoke", "phone ended", "Phone", "Laptop: logged in, revokes; Phone: logged in, logged out"},
		{"#session-steal", "thief ended", "Thief", "Laptop: token 1, replaced, refused; Thief: token 2, token 3, ended"},
	} {
		v.click(act.button)
		v.until(lastStep("session-steps", act.last))
		v.until(`document.getElementById("session-result").dataset.ended === "true"`)
		v.until(fmt.Sprintf(`document.querySelector("#windows [data-state=ended]:last-child dt").textContent.startsWith(%q)`, act.window))
		if drawn := v.ask(rows); drawn != act.drawn {
			t.Errorf("%s draws %q, want %q", act.button, drawn, act.drawn)
		}
		v.shootSection("session", "story"+act.button[len("#session"):])
	}
	v.expect("503")
	v.stopRedis()
	v.click("#session-revoke")
	v.until(text("session-problem") + ` !== ""`)
	if drawn := v.ask(rows); drawn != "" {
		t.Errorf("an action without a result draws %q", drawn)
	}
	if open := v.ask(`[...document.querySelectorAll("#windows dd")].map((dd) => dd.textContent).join(", ")`); open != "closed, closed" {
		t.Errorf("after an action without a result the windows are %q", open)
	}
	v.restoreRedis()
}

// Of 30 requests of the plan "free" some are refused, most of them from memory. The bucket is
// empty, and fills again. In an outage requests pass, and are counted as such.
func limitStory(_ *testing.T, v *visitor) {
	v.expect("429")
	v.click("#limit-many")
	v.until(`Number(document.getElementById("limit-result").dataset.refused) > 0`)
	v.until(text("limit-headers") + `.includes("Retry-After: ") && ` + text("limit-headers") + `.includes("RateLimit: \"free\";r=0")`)
	v.until(`Number(document.getElementById("limit-locally").textContent) > Number(document.getElementById("limit-refused").textContent)`)
	v.shootSection("limit", "story-limit")
	v.until(`document.getElementById("limit-bucket").dataset.tokens === "10"`)
	v.until(`document.querySelectorAll("#limit-level .token").length === 10`)
	v.stopRedis()
	v.click("#limit-many")
	v.until(`Number(document.getElementById("limit-degraded").textContent) >= 30`)
	v.until(`document.getElementById("limit-result").dataset.refused === "0"`)
	v.until(`!document.getElementById("limit-level").checkVisibility()`) // its tokens are unknown
	v.shootSection("limit", "story-limit-outage")
	v.restoreRedis()
}
