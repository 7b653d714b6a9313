// The lock story: two instances process one order. The steps arrive while they happen.

import { at, clock, entry, follow, row, onClick } from "./page.js";

const what = {
	waits: () => "waits for the lock",
	holds: (token) => `holds the lock, with token ${token}`,
	paused: () => "is paused: it can't renew its lease",
	resumed: () => "continues, and does not know that its lease has ended",
	written: (token) => `wrote the result, with token ${token}`,
	refused: (token) => `tried to write with token ${token}, and Redis refused the write: a later holder has a greater token`,
	unanswered: () => "got no answer to its write: Redis does not answer",
	unavailable: () => "got no lock: Redis does not answer",
	timeout: () => "got no lock in time",
};

// The steps that the drawing shows. The other steps are in the list only.
const labels = {
	waits: "waits", holds: "holds", paused: "paused", resumed: "works on", written: "written", refused: "refused",
	unanswered: "no answer", unavailable: "no lock", timeout: "no lock",
};

const line = ({ ms, instance, what: did, token }) =>
	entry(ms, `Instance ${instance} ${what[did]?.(token) ?? did}.`, { "data-instance": instance, "data-what": did });

// axis draws the steps of an instance on the time axis of the run. Each lasts until the next one.
function axis(instance, steps, end) {
	const own = steps.filter((s) => s.instance === instance && labels[s.what]);
	return row(`Instance ${instance}`, own.map((step, i) => (
		{ label: labels[step.what], kind: step.what, from: step.ms / end, to: (own[i + 1]?.ms ?? end) / end })));
}

// draw shows the steps so far, on a time axis that ends now.
function draw(steps, end) {
	at("lock-axes").replaceChildren(...["B", "A"].map((instance) => axis(instance, steps, end)));
}

async function run(pause) {
	const steps = [];
	const start = performance.now();
	at("lock-result").textContent = "Both instances process a new order …";
	at("lock-steps").replaceChildren();
	const ticking = setInterval(() => draw(steps, performance.now() - start), 100);
	let written = "";
	const ended = await follow("/demo/lock/run", { pause }, "lock-problem", (step) => {
		if ("written" in step) {
			written = step.written;
			return;
		}
		steps.push(step);
		at("lock-steps").append(line(step));
	});
	clearInterval(ticking);
	at("lock-result").dataset.written = written;
	if (!ended) {
		at("lock-result").textContent = "";
		return;
	}
	draw(steps, steps.at(-1).ms * 1.35); // with room for the label of the last step
	at("lock-result").replaceChildren(clock(), written ? `: Redis has the result of instance ${written}.` : ": Redis has no result.");
}

onClick(["lock-run", "lock-pause"], [() => run(false), () => run(true)]);
