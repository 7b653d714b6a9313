// The lock story: two instances process one order. The steps arrive while they happen.

import { at, clock, element, entry, follow, onClick } from "./page.js";

const what = {
	waits: "waits for the lock",
	holds: "holds the lock",
	paused: "is paused: it can't renew its lease",
	resumed: "continues, and does not know that its lease has ended",
	written: "wrote the result",
	refused: "tried to write, and Redis refused the write: a later holder has a greater token",
	unavailable: "got no lock: Redis does not answer",
	timeout: "got no lock in time",
};

// The label of the span of time that begins with a step. The other steps are points in time.
const spans = { waits: "waits", holds: "holds", paused: "paused", resumed: "works on" };
const points = { written: "written", refused: "refused" };

const line = ({ ms, instance, what: did, token }) =>
	entry(ms, `Instance ${instance} ${what[did] ?? did}${token ? `, token ${token}` : ""}.`, { "data-instance": instance, "data-what": did });

// axis draws the steps of an instance on the time axis of the run.
function axis(instance, steps, end) {
	const row = element("div", "", { class: "axis" });
	const track = element("div", "", { class: "track" });
	const own = steps.filter((s) => s.instance === instance);
	own.forEach((step, i) => {
		const label = spans[step.what] ?? points[step.what];
		if (!label) return;
		const next = own[i + 1]?.ms ?? end;
		const mark = element("span", step.what === "holds" ? `holds …${step.token % 10000}` : label, { "data-what": step.what });
		if (step.what in spans) {
			mark.style.left = `${(100 * step.ms) / end}%`;
			mark.style.width = `${(100 * (next - step.ms)) / end}%`;
		} else {
			mark.style.left = `${(100 * step.ms) / end}%`;
		}
		track.append(mark);
	});
	row.append(element("strong", `Instance ${instance}`), track);
	return row;
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
	draw(steps, steps.at(-1).ms * 1.2);
	at("lock-result").replaceChildren(clock(), written ? `: Redis has the result of instance ${written}.` : ": Redis has no result.");
}

onClick(["lock-run", "lock-pause"], [() => run(false), () => run(true)]);
