package browser_test

import (
	"fmt"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// One dead letter, several and all of them are redriven after the handler was repaired. The handler
// gets each of them once, and each open page shows the rest without a reload.
func TestConsoleRedrivesDeadLetters(t *testing.T) {
	w, chrome := newWorked(t), chrome(t)
	group := w.url + "/events?bus=orders&group=warehouse"
	v := visit(t, chrome, "operator", group)
	other := visit(t, chrome, "second operator", group)
	rows := `document.querySelectorAll("[data-part=dead] tbody tr").length`
	left := func(n int) {
		t.Helper()
		for _, page := range []*visitor{v, other} {
			page.until(isLive)
			page.until(fmt.Sprint(rows, " === ", n))
		}
		rig.Eventually(t, patience, "the redriven events are handled", func() bool {
			return w.repaired.Load() == int64(6-n)
		})
	}
	rig.Eventually(t, patience, "six dead letters", func() bool { return w.dead() == 6 })
	w.heal.Store(true)
	left(6)

	v.click(`[data-part=dead] tbody tr:nth-child(1) input`)
	v.click(`[data-part=dead] form > .buttons > button`)
	v.until(`document.querySelector(".message.good")?.textContent.includes("The dead letter was redriven.")`)
	left(5)

	v.click(`[data-part=dead] tbody tr:nth-child(2) input`)
	v.click(`[data-part=dead] tbody tr:nth-child(4) input`)
	v.click(`[data-part=dead] form > .buttons > button`)
	v.until(`document.querySelector(".message.good")?.textContent.includes("2 dead letters were redriven.")`)
	left(3)

	const all = `[data-part=dead] form[action$="/redrive-all"]`
	v.click(`[data-part=dead] details:has(> form[action$="/redrive-all"]) summary`)
	v.shoot("console-redrive-all-ask")
	v.click(all + ` button`)
	v.until(`document.querySelector(".message.good")?.textContent.includes("3 dead letters were redriven.")`)
	left(0)
	other.until(`document.querySelector("[data-part=dead] .blank")?.textContent.includes("no dead letters")`)
	if n := w.dead(); n != 0 {
		t.Errorf("the group has %d dead letters", n)
	}
	v.shoot("console-redriven")
}

// dead returns the number of dead letters of the group warehouse.
func (w *worked) dead() int64 {
	w.t.Helper()
	return must(w.orders.Group(w.t.Context(), "warehouse"))(w.t).Dead
}
