// The events story: an order and the hops of its event, with their times. The order and its notification belong to the visitor.

const at = (id) => document.getElementById(id);
const patience = 15_000; // ms

// hop lights a hop with its time since the click.
function hop(name, since) {
	const line = at("hops").querySelector(`[data-hop="${name}"]`);
	line.dataset.state = "done";
	line.querySelector(".ms").textContent = `${(performance.now() - since).toFixed(0)} ms`;
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

async function follow() {
	at("hops-problem").textContent = "";
	for (const line of at("hops").children) {
		line.dataset.state = "wait";
		line.querySelector(".ms").textContent = "";
	}
	const start = performance.now();
	const seen = new Set(); // orders whose event arrived, perhaps before the response
	let check = () => {};
	const keep = ({ detail }) => {
		if (detail.type === "order_created") seen.add(detail.id);
		check();
	};
	document.addEventListener("shop-event", keep);
	try {
		const response = await fetch("/api/orders", {
			method: "POST", headers: { "Content-Type": "application/json" },
			body: JSON.stringify({ item: "Story book", amount_cents: 990 }),
		});
		const order = await response.json().catch(() => ({}));
		if (!response.ok) {
			at("hops-problem").textContent = `${order.detail || order.title || `The shop responded with status ${response.status}`}.`;
			return;
		}
		hop("saved", start);
		const delivered = new Promise((resolve) => {
			check = () => { if (seen.has(order.id)) resolve(); };
			check();
		});
		await Promise.all([
			delivered.then(() => hop("delivered", start)),
			stored(order.id, start).then((found) => {
				if (found) hop("stored", start);
				else at("hops-problem").textContent = "The notification is not stored yet.";
			}),
		]);
	} catch {
		at("hops-problem").textContent = "The shop does not answer.";
	} finally {
		document.removeEventListener("shop-event", keep);
	}
}

at("follow").addEventListener("click", async () => {
	at("follow").disabled = true;
	const timeout = new Promise((resolve) => { setTimeout(resolve, patience); });
	await Promise.race([follow(), timeout]);
	at("follow").disabled = false;
	at("follow").focus({ preventScroll: true });
});

const what = {
	published: () => "The event is published. Its weight is −5 g.",
	failed: ({ attempt, text }) => `Attempt ${attempt} failed: ${text}.`,
	dead: ({ attempt }) => `After ${attempt} attempts the event is a dead letter. Later events of the channel are handled.`,
	corrected: () => "The handler is corrected, and the dead letter is given to the group again (redrive).",
	handled: ({ attempt }) => `The event is handled, with attempt ${attempt}.`,
};

function line(step) {
	const node = document.createElement("li");
	node.dataset.what = step.what;
	const time = document.createElement("span");
	time.className = "id";
	time.textContent = `${Math.round(step.ms)} ms `;
	const text = document.createElement("span");
	text.textContent = what[step.what]?.(step) ?? step.what;
	node.append(time, text);
	return node;
}

at("poison").addEventListener("click", async () => {
	at("poison").disabled = true;
	at("poison-problem").textContent = "";
	try {
		const response = await fetch("/demo/events/poison", { method: "POST" });
		const answer = await response.json().catch(() => ({}));
		if (response.ok) at("poison-steps").replaceChildren(...answer.map(line));
		else at("poison-problem").textContent = `${answer.detail || answer.title || `The shop responded with status ${response.status}`}.`;
	} catch {
		at("poison-problem").textContent = "The shop does not answer.";
	} finally {
		at("poison").disabled = false;
		at("poison").focus({ preventScroll: true });
	}
});
