// What the scripts of the stories share: elements, requests and times.
// Text from the server is only assigned to textContent. It is never markup.

export const at = (id) => document.getElementById(id);

export function element(name, text, attributes = {}) {
	const node = document.createElement(name);
	node.textContent = text;
	for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
	return node;
}

// clock returns the time of an entry of a list.
export function clock(date = new Date()) {
	return element("time", date.toLocaleTimeString(), { datetime: date.toISOString() });
}

// ms formats a time: three digits below 1 ms, so that a read from memory is not 0.
export const ms = (t) => `${t < 0.0005 ? 0 : t < 1 ? t.toFixed(3) : t < 100 ? t.toFixed(1) : Math.round(t)}\u00a0ms`;

// entry returns a line of a list: the time since the start of the story, and a text.
export function entry(time, text, attributes) {
	const line = element("li", "", attributes);
	line.append(element("span", ms(time), { class: "ms" }), element("span", text));
	return line;
}

// row draws one row of a drawing with a time axis. A mark has a label, a kind, a start and an end. Both are parts of the axis, 0 to 1.
// A mark that is too narrow for its label shows none.
export function row(name, marks) {
	const line = element("div", "", { class: "axis" });
	const track = element("div", "", { class: "track" });
	track.append(...marks.map(({ label, kind, from, to }) => {
		const mark = element("span", label, { "data-what": kind });
		mark.style.left = `${100 * from}%`;
		mark.style.width = `${100 * (to - from)}%`;
		return mark;
	}));
	line.append(element("strong", name), track);
	return line;
}

export function problemOf(answer, response) {
	const text = answer.detail || answer.title || `the shop responded with status ${response.status}`;
	return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

// ask posts to the shop. It returns the answer, or shows the problem in an element and returns null.
export async function ask(path, body, place) {
	at(place).textContent = "";
	try {
		const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
		const answer = await response.json().catch(() => ({}));
		if (response.ok) return answer;
		at(place).textContent = problemOf(answer, response);
	} catch {
		at(place).textContent = "The shop does not answer.";
	}
	return null;
}

// follow posts to the shop and calls show with each line of the answer as it arrives. It returns whether the story came to its end.
export async function follow(path, body, place, show) {
	at(place).textContent = "";
	try {
		const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
		if (!response.ok) {
			at(place).textContent = problemOf(await response.json().catch(() => ({})), response);
			return false;
		}
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		for (let rest = ""; ;) {
			const { value, done } = await reader.read();
			if (done) return at(place).textContent === "";
			const lines = (rest + value).split("\n");
			rest = lines.pop();
			for (const line of lines.map((text) => JSON.parse(text))) {
				if (line.problem) at(place).textContent = problemOf({ detail: line.problem }, response);
				else show(line);
			}
		}
	} catch {
		at(place).textContent = "The shop does not answer.";
		return false;
	}
}

// onClick runs an action while all buttons of its story are disabled, so that an action is not started twice.
export function onClick(ids, actions) {
	const buttons = ids.map(at);
	buttons.forEach((button, i) => button.addEventListener("click", () => during(buttons, button, actions[i])));
}

export async function during(buttons, button, action) {
	for (const other of buttons) other.disabled = true;
	try {
		await action();
	} finally {
		for (const other of buttons) other.disabled = false;
		button.focus({ preventScroll: true });
	}
}

// dots shows n marks. kind returns the class of mark i.
export function dots(place, n, kind) {
	while (place.children.length > n) place.lastChild.remove();
	while (place.children.length < n) place.append(document.createElement("span"));
	[...place.children].forEach((dot, i) => { dot.className = kind(i); });
}
