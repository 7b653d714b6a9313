// The events story: an order and the hops of its event, and a window that was offline. The order and its notification belong to the visitor.

import { ask, at, clock, entry, follow as followSteps, ms, onClick } from "./page.js";

const patience = 15_000; // ms

// hop lights a hop with its time since the click.
function hop(name, since) {
	const line = at("hops").querySelector(`[data-hop="${name}"]`);
	line.dataset.state = "done";
	line.querySelector(".ms").textContent = ms(performance.now() - since);
}

// stored asks for the notifications until the notification of the order is stored.
async function stored(id, start) {
	while (performance.now() - start < patience) {
		const response = await fetch("/api/notifications");
		if (response.ok && (await response.json()).some(({ type, data }) => type === "order_created" && data.id === id)) return true;
		await new Promise((resolve) => { setTimeout(resolve, 50); });
	}
	return false;
}

const arrived = new Set(); // orders whose event arrived by the stream of this window
const missed = new Set(); // orders of this story while the window was offline
const waiting = new Map(); // functions that wait for an order
let offline = false;

document.addEventListener("shop-event", ({ detail }) => {
	if (detail.type !== "order_created") return;
	arrived.add(detail.id);
	waiting.get(detail.id)?.();
	waiting.delete(detail.id);
});

// arrival resolves to true when the event of an order has arrived, and to false after patience.
const arrival = (id) => new Promise((resolve) => {
	if (arrived.has(id)) return resolve(true);
	waiting.set(id, () => resolve(true));
	setTimeout(() => { waiting.delete(id); resolve(false); }, patience);
});

async function follow() {
	for (const line of at("hops").children) {
		line.dataset.state = "wait";
		line.querySelector(".ms").textContent = "";
	}
	const start = performance.now();
	const order = await ask("/api/orders", { item: "Story book", amount_cents: 990 }, "hops-problem");
	if (!order) {
		for (const line of at("hops").children) delete line.dataset.state;
		return;
	}
	hop("order", start);
	hop("outbox", start);
	const notified = stored(order.id, start).then((found) => { if (found) hop("notification", start); });
	if (offline) {
		missed.add(order.id);
		at("offline-result").replaceChildren(clock(), `: this window is offline and has missed ${count(missed.size)}.`);
		await notified;
		return;
	}
	await Promise.all([arrival(order.id).then((came) => { if (came) hop("stream", start); }), notified]);
}

const count = (n) => (n === 1 ? "1 event" : `${n} events`);

// toggle takes the window offline, or connects it again after its last event.
async function toggle() {
	offline = !offline;
	at("offline").setAttribute("aria-pressed", String(offline));
	at("offline").textContent = offline ? "Come back" : "Go offline";
	document.dispatchEvent(new CustomEvent("shop-offline", { detail: offline }));
	if (offline) {
		at("offline-result").replaceChildren(clock(), ": this window is offline. Order something.");
		return;
	}
	const start = performance.now();
	const came = (await Promise.all([...missed].map(arrival))).filter(Boolean).length;
	if (came) hop("stream", start);
	at("offline-result").replaceChildren(clock(), `: this window is connected again, and received ${count(came)} that it had missed, after ${ms(performance.now() - start)}.`);
	at("offline-result").dataset.caught = came;
	missed.clear();
}

const what = {
	published: () => "The event is published. Its weight is −5 g.",
	failed: ({ attempt, text }) => `Attempt ${attempt} failed: ${text}.`,
	dead: ({ attempt }) => `After ${attempt} attempts the event is a dead letter. Later events of the channel are handled.`,
	corrected: () => "The handler is corrected, and the dead letter is given to the group again (redrive).",
	handled: ({ attempt }) => `The event is handled, with attempt ${attempt}.`,
};

async function poison() {
	at("poison-steps").replaceChildren();
	await followSteps("/demo/events/poison", {}, "poison-problem", (step) => {
		at("poison-steps").append(entry(step.ms, what[step.what]?.(step) ?? step.what, { "data-what": step.what }));
	});
}

onClick(["follow", "offline", "poison"], [follow, toggle, poison]);
