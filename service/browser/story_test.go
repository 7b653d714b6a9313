package browser_test

import (
	"fmt"
	"testing"
)

// The cache story: a read from the database, from memory, and through the other instance. A change
// ends the copy of the other instance, and 100 readers cause one load.
func TestCacheStory(t *testing.T) {
	urls, chrome := shops(t, 1, "REDIS_COMMAND_TIMEOUT=500ms"), chrome(t)
	v := visit(t, chrome, "visitor", urls[0]+"/#cache")
	v.until(`document.querySelector("#cache:target") !== null`)
	places := func(want string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#read-steps li")].map((li) => li.dataset.place).join(" ") === %q`, want)
	}
	v.click("#read-a")
	v.until(places("network memory redis database store"))
	v.until(text("read-summary") + `.includes("Katherine Johnson") && ` + text("read-summary") + `.includes("from the database")`)
	v.shoot("story-cache-database")
	v.click("#read-a")
	v.until(places("network memory"))
	v.click("#read-b")
	v.until(places("network memory redis"))
	v.click("#rename button")
	v.until(text("rename-result") + `.includes("Katherine Goble") && document.getElementById("rename-result").dataset.gone === "true"`)
	v.click("#readers")
	v.until(`document.getElementById("readers-result").dataset.loads === "1"`)
	v.shoot("story-cache")

	v.click("#break")
	v.until(`document.getElementById("state").dataset.breaker === "open"`)
	v.until(`[...document.querySelectorAll(".during")].every((text) => !text.hidden)`)
	v.click("#read-b")
	v.until(text("read-summary") + `.includes("Katherine Goble")`)
	v.click("#readers")
	// Each instance loads for itself, and not once per reader.
	v.until(`Number(document.getElementById("readers-result").dataset.loads) >= 2`)
	v.until(`Number(document.getElementById("readers-result").dataset.loads) < 50`)
	v.fill("#rename-name", "Katherine Coleman")
	v.click("#rename button")
	v.until(text("rename-result") + `.includes("Redis did not confirm the invalidation")`)
	v.shoot("story-cache-outage")
	v.click("#break")
	v.until(`[...document.querySelectorAll(".during")].every((text) => text.hidden)`)
	v.until(`!document.getElementById("read-b").disabled && (document.getElementById("read-b").click(), ` +
		text("read-summary") + `.includes("Katherine Coleman"))`)
}

// The lock story: one instance waits for the other. The write of a holder that was cut off is
// refused.
func TestLockStory(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	v := visit(t, chrome, "visitor", urls[0]+"/#lock")
	last := func(what string) string {
		return fmt.Sprintf(`document.querySelector("#lock-steps li:last-child")?.dataset.what === %q`, what)
	}
	v.click("#lock-run")
	v.until(last("written") + ` && document.getElementById("lock-result").dataset.written === "A"`)
	v.click("#lock-pause")
	v.until(last("refused") + ` && document.getElementById("lock-result").dataset.written === "A"`)
	v.shoot("story-lock")
}

// The rate limit story: 30 requests of the plan "free" are more than its limit. The bucket is
// empty, and fills again.
func TestLimitStory(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	v := visit(t, chrome, "visitor", urls[0]+"/#limit").expect("429")
	v.click("#limit-many")
	v.until(`Number(document.getElementById("limit-result").dataset.refused) > 0`)
	v.until(text("limit-headers") + `.includes("Retry-After: ") && ` + text("limit-headers") + `.includes("RateLimit: \"free\";r=0")`)
	v.until(`Number(document.getElementById("limit-locally").textContent) > Number(document.getElementById("limit-refused").textContent)`)
	v.shoot("story-limit")
	v.until(`document.getElementById("limit-bucket").dataset.tokens === "10"`)
}

// The session story: a revoked window is logged out, and so is the window of a thief.
func TestSessionStory(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	v := visit(t, chrome, "visitor", urls[0]+"/#session")
	for button, last := range map[string]string{"#session-revoke": "phone ended", "#session-steal": "thief ended"} {
		v.click(button)
		v.until(fmt.Sprintf(`document.querySelector("#session-steps li:last-child")?.dataset.what === %q`, last))
		v.until(`document.getElementById("session-result").dataset.ended === "true"`)
	}
	v.shoot("story-session")
}

// The events story: each hop of the event of an order is reached. A faulty event becomes a dead
// letter, and is handled after a redrive.
func TestEventsStory(t *testing.T) {
	urls, chrome := shops(t, 1), chrome(t)
	ada := ada(t, chrome, "Ada", urls[0])
	ada.click("#follow")
	ada.until(`[...document.querySelectorAll("#hops li")].every((li) => li.dataset.state === "done")`)
	ada.click("#poison")
	ada.until(`document.querySelector("#poison-steps li:last-child")?.dataset.what === "handled"`)
	ada.shoot("story-events")
}
