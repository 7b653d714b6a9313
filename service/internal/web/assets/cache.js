// The cache story: reads through two instances of the shop, a change, and 100 readers of one key.
// Text from the server is only assigned to textContent. It is never markup.

const at = (id) => document.getElementById(id);

// ms formats a time: three digits below 1 ms, so that a read from memory is not 0.
const ms = (t) => `${t < 1 ? t.toFixed(3) : t.toFixed(1)} ms`;

const places = {
	network: "Browser and network",
	memory: "Memory of this instance",
	redis: "Redis",
	database: "Database",
	store: "Redis stores the value",
};

const outcomes = {
	hit: "found",
	miss: "not found",
	unavailable: "no answer",
	waited: "waited for the load of another call",
	read: "read",
	stored: "stored",
};

const sources = { near: "the memory of this instance", hit: "Redis", stale: "Redis (stale value)", miss: "the database" };

// act posts to the story and returns the answer and the time of the request, or shows the problem and returns null.
async function act(path, body) {
	const place = at("cache-problem");
	const start = performance.now();
	try {
		const response = await fetch(`/demo/cache/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
		const answer = await response.json().catch(() => ({}));
		const took = performance.now() - start;
		place.textContent = response.ok ? "" : `${answer.detail || answer.title || `The shop responded with status ${response.status}`}.`;
		return response.ok ? { answer, took } : null;
	} catch {
		place.textContent = "The shop does not answer.";
		return null;
	}
}

function step({ place, outcome, ms: time }, longest) {
	const line = document.createElement("li");
	line.dataset.place = place;
	line.dataset.outcome = outcome ?? "";
	const name = document.createElement("span");
	name.textContent = outcome ? `${places[place]}: ${outcomes[outcome] ?? outcome}` : places[place];
	const took = document.createElement("span");
	took.className = "ms";
	// The search in memory has no time of its own before a search in Redis.
	took.textContent = time > 0 ? ms(time) : "";
	const room = document.createElement("span");
	room.className = "bar-of";
	const bar = document.createElement("span");
	bar.style.width = `${(100 * time) / longest}%`;
	room.append(bar);
	line.append(name, took);
	if (time > 0) line.append(room);
	return line;
}

async function read(instance) {
	const result = await act("read", { instance });
	if (!result) return;
	const { answer, took } = result;
	const steps = [{ place: "network", ms: Math.max(took - answer.ms, 0.001) }, ...answer.steps];
	const longest = Math.max(...steps.map((s) => s.ms));
	at("read-summary").textContent = `${new Date().toLocaleTimeString()}: instance ${instance} returned user ${answer.id}, “${answer.name}”, from ${sources[answer.source] ?? answer.source} in ${ms(answer.ms)}.`;
	at("read-steps").replaceChildren(...steps.map((s) => step(s, longest)));
	at("read-result").dataset.source = answer.source;
	at("read-result").hidden = false;
}

// during runs an action while its button is disabled, so that an action is not started twice.
function during(button, action) {
	return async (event) => {
		event?.preventDefault();
		button.disabled = true;
		try {
			await action();
		} finally {
			button.disabled = false;
			button.focus({ preventScroll: true });
		}
	};
}

async function rename() {
	const result = await act("rename", { name: at("rename-name").value });
	if (!result) return;
	const { answer } = result;
	const saved = `Instance A changed “${answer.before}” to “${answer.after}” in ${ms(answer.ms)}.`;
	const old = answer.old_answers === 1 ? "1 old answer" : `${answer.old_answers} old answers`;
	let text = `${saved} The copy of instance B ended ${ms(answer.gone_ms)} later, after ${old}.`;
	if (!answer.gone) text = `${saved} Instance B still serves “${answer.before}”.`;
	if (answer.pending) text += " Redis did not confirm the invalidation. Instance A keeps it and repeats it.";
	at("rename-result").textContent = text;
	at("rename-result").dataset.gone = String(answer.gone);
}

async function readers() {
	const result = await act("readers", {});
	if (!result) return;
	const { answer } = result;
	const loads = answer.loads === 1 ? "The database was read once" : `The database was read ${answer.loads} times: without Redis, the instances can't share a load`;
	at("readers-result").textContent = `${answer.readers} readers of a new key, in two instances, had their answer after ${ms(answer.ms)}. ${loads}.`;
	at("readers-result").dataset.loads = answer.loads;
}

at("read-a").addEventListener("click", during(at("read-a"), () => read("A")));
at("read-b").addEventListener("click", during(at("read-b"), () => read("B")));
at("rename").addEventListener("submit", during(at("rename").querySelector("button"), rename));
at("readers").addEventListener("click", during(at("readers"), readers));
