// The cache story: reads through two instances of the shop, a change, and 100 readers of one key.

import { ask, at, clock, dots, during, element, ms, onClick } from "./page.js";

// The places of a read, in the order in which a read asks them.
const places = [["network", "Browser"], ["memory", "Memory"], ["redis", "Redis"], ["database", "Database"], ["store", "Store"]];

const outcomes = {
	network: "and network",
	hit: "found",
	miss: "not found",
	unavailable: "no answer",
	waited: "waited for another load",
	read: "read",
	stored: "in Redis",
};

const sources = { near: "the memory of this instance", hit: "Redis", stale: "Redis (stale value)", miss: "the database" };

// step returns a station of the path. A station that the read did not ask has no time.
function step([place, name], did, longest) {
	if (!did) {
		const idle = element("li", "", { "data-idle": place });
		idle.append(element("strong", name), element("span", "", { class: "ms" }), element("span", "not asked"));
		return idle;
	}
	const line = element("li", "", { "data-place": place, "data-outcome": did.outcome });
	const bar = element("span", "", { class: "share" });
	bar.style.width = `${Math.max((100 * did.ms) / longest, 1)}%`;
	// The search in memory has no time of its own before a search in Redis.
	line.append(element("strong", name), element("span", did.ms > 0 ? ms(did.ms) : "", { class: "ms" }), element("span", outcomes[did.outcome] ?? did.outcome), bar);
	return line;
}

// copy shows the copy in the memory of an instance. before is the copy that a change has ended.
function copy(instance, name, before) {
	const place = at(`copy-${instance.toLowerCase()}`).querySelector("dd");
	place.replaceChildren(...(before && before !== name ? [element("del", before), " "] : []), name);
	place.parentElement.dataset.state = "on";
}

async function read(instance) {
	const start = performance.now();
	const answer = await ask("/demo/cache/read", { instance }, "cache-problem");
	if (!answer) return;
	const took = performance.now() - start;
	const steps = [{ place: "network", outcome: "network", ms: Math.max(took - answer.ms, 0.001) }, ...answer.steps];
	const longest = Math.max(...steps.map((s) => s.ms));
	at("read-summary").replaceChildren(clock(),
		`: instance ${instance} returned user ${answer.id}, “${answer.name}”, from ${sources[answer.source] ?? answer.source} in ${ms(answer.ms)}.`);
	at("read-steps").replaceChildren(...places.map((place) => step(place, steps.find((s) => s.place === place[0]), longest)));
	copy(instance, answer.name);
}

async function rename() {
	const answer = await ask("/demo/cache/rename", { name: at("rename-name").value }, "cache-problem");
	if (!answer) return;
	const saved = `: instance A changed “${answer.before}” to “${answer.after}” in ${ms(answer.ms)}.`;
	const old = ["no old answer", "1 old answer"][answer.old_answers] ?? `${answer.old_answers} old answers`;
	let text = `${saved} Instance B dropped its copy ${ms(answer.gone_ms)} later, and returned ${old}.`;
	if (!answer.gone) text = `${saved} Instance B still serves “${answer.before}”.`;
	if (answer.pending) text += " Redis did not confirm the invalidation. Instance A keeps it and repeats it.";
	at("rename-result").replaceChildren(clock(), text);
	at("rename-result").dataset.gone = String(answer.gone);
	copy("A", answer.after, answer.before);
	copy("B", answer.gone ? answer.after : answer.before, answer.before);
}

async function readers() {
	const answer = await ask("/demo/cache/readers", {}, "cache-problem");
	if (!answer) return;
	const loads = answer.loads === 1 ? "The database was read once" : `The database was read ${answer.loads} times: without Redis, each instance loads for itself`;
	at("readers-result").replaceChildren(clock(), `: ${answer.readers} readers of a new key, in two instances, received their answers within ${ms(answer.ms)}. ${loads}.`);
	at("readers-result").dataset.loads = answer.loads;
	dots(at("crowd"), answer.readers, (i) => (i < answer.loads ? "load" : "shared"));
}

dots(at("crowd"), 100, () => "");
onClick(["read-a", "read-b", "readers"], [() => read("A"), () => read("B"), readers]);
at("rename").addEventListener("submit", (event) => {
	event.preventDefault();
	const button = at("rename").querySelector("button");
	during([button], button, rename);
});
