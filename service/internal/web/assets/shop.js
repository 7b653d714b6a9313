// The page uses the API of the shop without a reload.
// Text from the server is only assigned to textContent. It is never markup.

import { at, clock, element } from "./page.js";

const main = document.querySelector("main");
const maxReads = 8;
let reads = 0;
const maxNews = 6;
const maxOrders = 6;

// send sends a request to the API, with a JSON body if there is one, and returns the response.
function send(method, path, body) {
	const options = { method };
	if (body !== undefined) {
		options.headers = { "Content-Type": "application/json" };
		options.body = JSON.stringify(body);
	}
	return fetch(path, options);
}

async function problemOf(response) {
	const problem = await response.json().catch(() => ({}));
	if (response.status === 429 && !problem.detail) {
		return `Too many requests: your limit is reached. Try again in ${response.headers.get("Retry-After") ?? "a few"} s.`;
	}
	const text = problem.detail || problem.title || `the shop responded with status ${response.status}`;
	return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

// report shows the error of a response in the element, or clears it. It returns whether the request succeeded.
async function report(place, response) {
	at(place).textContent = response.ok ? "" : await problemOf(response);
	at(place).dataset.kind = { 429: "wait", 503: "wait" }[response.status] ?? "error";
	return response.ok;
}

// ---- users

// sourceOf returns the source of a response and its time in ms, from the Server-Timing header.
function sourceOf(response) {
	const [, source, took] = /^(\w+);dur=([\d.]+)$/.exec(response.headers.get("Server-Timing") ?? "") ?? [];
	return { source, took };
}

async function read(id) {
	const response = await send("GET", `/api/users/${id}`);
	main.dataset.user = id;
	at("user").hidden = !response.ok;
	allowEdit(response.ok);
	at("problem").textContent = "";
	if (!response.ok) {
		at("answer").textContent = await problemOf(response);
		return;
	}
	const user = await response.json();
	at("name").textContent = user.name ?? "log in to see the name";
	at("email").textContent = user.email ?? "only the owner sees it";
	at("since").textContent = user.created_at.slice(0, 10);
	at("edit-name").value = user.name ?? "";
	at("edit-email").value = user.email ?? "";
	show(sourceOf(response), user);
}

// The names of the sources, as in the template of the page.
const sources = { near: "memory (near cache)", cache: "Redis", stale: "Redis (stale value)", database: "the database" };

function show({ source, took }, user) {
	const strong = element("strong", sources[source] ?? source, { id: "source", "data-source": source });
	const time = element("span", Number(took).toFixed(2), { id: "took" });
	at("answer").replaceChildren("Served from ", strong, " in ", time, " ms.");
	list(source, time.textContent, user.name);
}

function list(source, took, name) {
	const line = element("li", "");
	line.append(clock(new Date()), element("span", ` user ${main.dataset.user}`, { class: "id" }), name ? ` ${name}: ` : ": ",
		element("span", sources[source] ?? source, { "data-source": source }), `, ${took} ms`);
	at("reads").prepend(line);
	at("reads").dataset.count = ++reads;
	while (at("reads").children.length > maxReads) at("reads").lastChild.remove();
}

// allowEdit enables the form for the own user, and shows a hint for other users.
function allowEdit(found = !at("user").hidden) {
	const own = found && String(ownID) === String(main.dataset.user);
	document.querySelector("#edit fieldset").disabled = !own;
	at("edit-hint").hidden = own;
}

async function save(id, change) {
	if (await report("problem", await send("PATCH", `/api/users/${id}`, change))) await read(id);
}

// ---- account

let stream;
let ownID; // the id of the user who is logged in
let retry;

// later asks again in 2 s who is logged in, because the shop can't check it now. No user is logged out.
function later() {
	state("lost", "No connection to the shop. Trying again …");
	if (at("login").hidden && at("account").hidden) at("account-problem").textContent = "Sessions are unavailable while Redis is down. Trying again …";
	clearTimeout(retry);
	retry = setTimeout(() => refreshAccount().catch(later), 2000);
}

async function refreshAccount() {
	const response = await send("GET", "/api/me");
	if (!response.ok && response.status !== 401) return later();
	if (response.status === 401 && !at("account").hidden) at("account-problem").textContent = "This device was logged out.";
	if (at("account").hidden) at("account-problem").textContent = "";
	showAccount(response.ok ? await response.json() : null);
	if (!response.ok) return;
	await Promise.all([refreshDevices(), refreshOrders(), read(at("choose-id").value)]);
	allowEdit();
	listen(true);
	await refreshNews();
}

function showAccount(me) {
	ownID = me?.id;
	allowEdit();
	at("login").hidden = me !== null;
	at("signup").hidden = true;
	at("account").hidden = me === null;
	document.querySelector("#order fieldset").disabled = me === null;
	for (const hint of document.querySelectorAll(".login-first")) hint.hidden = me !== null;
	if (me !== null) {
		at("me").textContent = `${me.name} (${me.email})`;
		at("choose-id").value = me.id;
		return;
	}
	at("orders").replaceChildren();
	at("news").replaceChildren();
	listen(false);
}

async function refreshDevices() {
	const response = await send("GET", "/api/devices");
	if (!response.ok) return;
	const lines = (await response.json()).map((device) => {
		const seen = new Date(device.last_seen).toLocaleTimeString();
		const line = element("li", `${browserOf(device.user_agent)} (${device.id.slice(0, 8)}), ${device.address || "unknown address"}, seen ${seen} `);
		if (device.current) {
			line.append(element("em", "this device"));
			return line;
		}
		const button = element("button", "Revoke", { type: "button", class: "quiet small", "data-device": device.id });
		button.addEventListener("click", guarded("account-problem", async () => {
			if (await report("account-problem", await send("DELETE", `/api/devices/${device.id}`))) await refreshDevices();
		}));
		line.append(button);
		return line;
	});
	at("devices").replaceChildren(...lines);
}

function browserOf(agent) {
	return /(Firefox|Edg|Chrome|Safari|curl)\//.exec(agent ?? "")?.[1] ?? "Unknown program";
}

// ---- orders

async function refreshOrders() {
	const response = await send("GET", "/api/orders");
	if (!response.ok) return;
	const orders = await response.json();
	const lines = orders.slice(0, maxOrders).map((order) => {
		const line = element("li", "", { "data-order": order.id, "data-status": order.status });
		line.append(clock(new Date(order.created_at)), element("span", ` order ${order.id}`, { class: "id" }),
			` ${order.item}, ${(order.amount_cents / 100).toFixed(2)} `);
		if (order.status !== "new") {
			line.append(element("em", `processed${order.processed_by ? ` by ${order.processed_by}` : ""}`));
			return line;
		}
		const button = element("button", "Process", { type: "button", class: "small" });
		button.addEventListener("click", guarded("order-problem", async () => {
			await report("order-problem", await send("POST", `/api/orders/${order.id}/process`));
			await refreshOrders();
		}));
		line.append(button);
		return line;
	});
	if (orders.length > maxOrders) lines.push(element("li", "Older orders are not shown.", { class: "hint" }));
	at("orders").replaceChildren(...lines);
}

// ---- notifications

let last = ""; // position of the last event
let away = false; // a story has taken this window offline

// listen opens or closes the stream. After a disconnection the browser reconnects with the id of the last event.
function listen(on) {
	if (!on) {
		stream?.close();
		stream = undefined;
		last = "";
		clearTimeout(retry);
		state("off", "Log in to see news of your orders.");
		return;
	}
	if (stream || away) return;
	stream = new EventSource(`/api/notifications/stream${last ? `?position=${encodeURIComponent(last)}` : ""}`);
	stream.onopen = () => state("on", "Connected.");
	stream.onerror = () => {
		if (stream?.readyState === EventSource.CLOSED) {
			stream = undefined;
			refreshAccount().catch(later); // this device may have been revoked
		} else {
			state("lost", "The connection is lost. The browser tries again …");
			send("GET", "/api/me").then((response) => { if (response.status === 401) return refreshAccount(); }).catch(() => {});
		}
	};
	stream.addEventListener("stale", () => note(["Some notifications are too old and were deleted."]));
	for (const type of Object.keys(happened)) {
		stream.addEventListener(type, (event) => {
			last = event.lastEventId;
			announce(type, JSON.parse(event.data));
			soon();
		});
	}
}

// A window that was offline continues after its last event. The list has the events of a window that had none yet.
document.addEventListener("shop-offline", ({ detail }) => {
	away = detail;
	if (ownID === undefined) return;
	if (!away) {
		listen(true);
		refreshNews().catch(() => {});
		return;
	}
	stream?.close();
	stream = undefined;
	state("lost", "This window is offline.");
});

let due;

// soon refreshes the orders and announces the latest notification to screen readers, once for all that arrive within 300 ms.
function soon() {
	due ??= setTimeout(() => {
		due = undefined;
		at("announce").textContent = at("news").firstChild?.textContent ?? "";
		refreshOrders().catch(() => {});
	}, 300);
}

// An event can arrive by the stream and by the list. The page shows it once.
const happened = { order_created: "Ordered", order_processed: "Processed" };

function announce(type, order) {
	document.dispatchEvent(new CustomEvent("shop-event", { detail: { type, id: order.id } }));
	const what = `${type} ${order.id}`;
	if (at("news").querySelector(`[data-what="${what}"]`)) return;
	const when = type === "order_processed" ? order.processed_at : order.created_at;
	note([clock(new Date(when ?? order.created_at)), element("span", ` order ${order.id}`, { class: "id" }), ` ${happened[type]}: ${order.item}`],
		{ "data-what": what });
}

// refreshNews shows the notifications that arrived while no page was open.
async function refreshNews() {
	const response = await send("GET", "/api/notifications");
	if (!response.ok) return;
	for (const { type, data } of (await response.json()).slice(0, maxNews).reverse()) {
		if (type in happened) announce(type, data);
	}
}

function state(name, text) {
	at("stream").dataset.state = name;
	at("stream").textContent = text;
}

function note(parts, attributes) {
	const line = element("li", "", attributes);
	line.append(...parts);
	at("news").prepend(line);
	while (at("news").children.length > maxNews) at("news").lastChild.remove();
}

// ---- forms

// guarded runs a handler and shows an error if the shop can't be reached.
function guarded(place, handler) {
	return async (event) => {
		try {
			await handler(event);
		} catch {
			at(place).textContent = "The shop does not answer.";
		}
	};
}

// on replaces the submit action of the browser by the handler.
function on(form, place, handler) {
	const run = guarded(place, (event) => handler(new FormData(event.target)));
	at(form).addEventListener("submit", (event) => {
		event.preventDefault();
		run(event);
	});
}

on("choose", "problem", (form) => read(form.get("user")));
on("edit", "problem", (form) => save(main.dataset.user, { name: form.get("name"), email: form.get("email") }));
on("login", "account-problem", async (form) => {
	if (await report("account-problem", await send("POST", "/api/login", { email: form.get("email"), password: form.get("password") }))) {
		at("login-password").value = "";
		await refreshAccount();
	}
});
on("signup", "account-problem", async (form) => {
	const body = { name: form.get("name"), email: form.get("email"), password: form.get("password") };
	if (await report("account-problem", await send("POST", "/api/signup", body))) await refreshAccount();
});
on("order", "order-problem", async (form) => {
	const body = { item: form.get("item"), amount_cents: Number(form.get("amount_cents")) };
	if (await report("order-problem", await send("POST", "/api/orders", body))) await refreshOrders();
});
at("logout").addEventListener("click", guarded("account-problem", async () => {
	if (await report("account-problem", await send("POST", "/api/logout"))) showAccount(null);
}));
at("show-signup").addEventListener("click", (event) => {
	at("signup").hidden = !at("signup").hidden;
	event.target.setAttribute("aria-expanded", String(!at("signup").hidden));
});

if (at("source")) list(at("source").dataset.source, at("took").textContent);
allowEdit();
if (main.dataset.loggedIn !== "false") refreshAccount().catch(later);
