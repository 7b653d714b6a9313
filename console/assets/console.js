// Live updates of a page, and boxes that select all rows. Without this file the pages work as plain HTML.

const status = document.getElementById("live");

// The parts that a visitor works in keep their content: a field with the focus, an open question or a selected row.
const inUse = (part) =>
	part.querySelector("details[open], tbody input:checked") !== null ||
	(part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea"));

function show(state, text) {
	if (status.dataset.state === state) return;
	status.dataset.state = state;
	status.textContent = text;
}

// identity describes a link or a control. The hidden fields of its question distinguish the rows of a table.
function identity(element) {
	const fields = element.closest("details, form")?.querySelectorAll("input[type=hidden]") ?? [];
	return JSON.stringify([element.tagName, element.getAttribute("href"), element.getAttribute("aria-label"),
		element.textContent, ...Array.from(fields, (field) => field.value)]);
}

// locate describes a focused link or button, so that its copy in a new part gets the focus. Without a copy the focus
// goes to no other control: Enter would repair another row.
function locate(part) {
	const focused = document.activeElement;
	if (!part.contains(focused)) return null;
	const wanted = identity(focused);
	const same = (other) => identity(other) === wanted;
	return (fresh) => [...fresh.querySelectorAll(focused.tagName)].find(same)?.focus({ preventScroll: true });
}

function replace(html) {
	const fresh = new DOMParser().parseFromString(html, "text/html");
	let held = false;
	for (const next of fresh.querySelectorAll("[data-part]")) {
		const part = document.querySelector(`[data-part="${CSS.escape(next.dataset.part)}"]`);
		if (part === null || part.innerHTML === next.innerHTML && part.className === next.className) continue;
		if (inUse(part)) {
			held = true;
			continue;
		}
		const focus = locate(part);
		part.replaceWith(next);
		focus?.(next);
	}
	if (held) show("held", "Paused while you edit");
	else show("on", "Live");
}

let stream = null;
let retry = 0;

function disconnect() {
	clearTimeout(retry);
	stream?.close();
	stream = null;
}

// A page in the background needs no stream. Over HTTP/1.1 a browser has six connections to a server, for all tabs.
function connect() {
	disconnect();
	if (!status.dataset.stream) return;
	if (document.hidden) {
		show("off", "Paused in the background");
		return;
	}
	stream = new EventSource(status.dataset.stream);
	stream.addEventListener("page", (event) => replace(JSON.parse(event.data)));
	stream.addEventListener("open", () => show("on", "Live"));
	stream.addEventListener("again", connect); // the server checks the role again
	stream.addEventListener("error", () => {
		show("lost", "Connection lost: trying again");
		if (stream?.readyState === EventSource.CLOSED) retry = setTimeout(connect, 10_000);
	});
}

document.addEventListener("visibilitychange", connect);
addEventListener("pagehide", disconnect);
// A page that returns from the history of the browser connects again.
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
connect();

document.addEventListener("change", (event) => {
	const box = event.target;
	if (box.dataset?.all === undefined) return;
	for (const row of box.closest("table").querySelectorAll("tbody input[type=checkbox]")) row.checked = box.checked;
});
