// Charts of what the instance did in each second, and the controls of traffic and outage.

import { ask, at, element } from "./page.js";

// The time axis has the least of these lengths, in seconds, that all samples fit into.
const lengths = [30, 60, 90];
const seconds = lengths.at(-1);

// Each chart has a section, a title, a unit and series. A series has a name, a field of the sample and a colour of the style sheet.
const plots = [
	["overview", "Requests", "/s", [["requests", "rps", "--s1"], ["errors", "errors", "--s2"]]],
	["overview", "Latency of answers", "ms", [["median (p50)", "p50_ms", "--s1"], ["p99", "p99_ms", "--s2"]]],
	["cache", "Cache reads by source", "%", [["near cache", "near_ratio", "--s1"], ["Redis", "redis_ratio", "--s3"], ["stale", "stale_ratio", "--s4"], ["miss", "miss_ratio", "--s2"]]],
	["cache", "Database loads", "/s", [["avoided", "loads_avoided", "--s3"], ["loads", "loads", "--s2"]]],
	["lock", "Locks", "/s", [["acquired", "lock_acquired", "--s1"], ["waited", "lock_waits", "--s2"]]],
	["limit", "Rate limiter", "/s", [["allowed", "limit_allowed", "--s1"], ["refused", "limit_refused", "--s2"], ["without a limit", "limit_degraded", "--s4"]]],
	["events", "Events", "/s", [["published", "events_published", "--s1"], ["handled", "events_handled", "--s3"]]],
].filter(([section]) => document.querySelector(`[data-plots="${section}"]`)); // a demo can lack a story

// Each colour has a dash too, so that the lines differ without colour.
const dashes = { "--s2": [7, 3], "--s3": [2, 3], "--s4": [8, 3, 2, 3] };

// The units in the titles.
const units = { "/s": "per second", ms: "in ms", "%": "in %" };

// Latencies have a logarithmic axis: one slow request must not hide the median.
const scales = {
	"/s": { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] },
	"%": { range: () => [0, 100] },
	ms: { distr: 3, range: (_, low, high) => [0.1, 10 ** Math.ceil(Math.log10(Math.max(high, 10)))] },
};

// The marks of the logarithmic axis are the powers of ten.
const marks = { ms: { splits: (chart) => [0.1, 1, 10, 100, 1000, 10_000].filter((t) => t <= chart.scales.y.max) } };

const samples = [];
let charts = [];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// draw creates the charts, at the start and each time colours or width change.
function draw() {
	for (const chart of charts) chart.destroy();
	for (const place of document.querySelectorAll(".plots")) place.replaceChildren();
	const rooms = plots.map(([section]) => {
		const room = element("div", "", { class: "plot" });
		document.querySelector(`[data-plots="${section}"]`).append(room);
		return room;
	});
	charts = plots.map(([section, title, unit, series], i) => {
		const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
		return new uPlot({
			title: `${title} ${units[unit]}`, width: rooms[i].clientWidth, height: section === "overview" ? 200 : 140,
			legend: { live: false, markers: { width: 0, fill: (_, line) => pattern(...series[line - 1].slice(2)) } },
			cursor: { drag: { x: false, y: false } },
			scales: { x: { time: false, range: span }, y: scales[unit] },
			axes: [{ ...axis, splits: ticks, values: (_, at) => at.map(ago), size: 26 }, { ...axis, size: 44, ...marks[unit] }],
			series: [{}, ...series.map(([label, , name]) => ({
				label, stroke: colour(name), dash: dashes[name], width: 1.75, points: { show: false },
			}))],
			hooks: { drawClear: [shadeOutages] },
		}, data(series), rooms[i]);
	});
}

// pattern returns the colour and the dash of a line as a background, for the legend.
function pattern(name) {
	let end = 0;
	const parts = (dashes[name] ?? [1, 0]).map((length, i) => `${i % 2 ? "transparent" : colour(name)} ${end}px ${(end += length)}px`);
	return `repeating-linear-gradient(90deg, ${parts.join(", ")})`;
}

// span returns the range of the time axis.
function span() {
	const last = samples.at(-1)?.t ?? Math.floor(Date.now() / 1000);
	return [last - lengths.find((length) => samples.length <= length), last];
}

const ticks = ({ scales: { x } }) => [2, 1, 0].map((third) => x.max - (third * (x.max - x.min)) / 3);
const ago = (t, i, all) => (t === all.at(-1) ? "now" : `−${all.at(-1) - t} s`);

// shadeOutages tints the seconds in which Redis was stopped or the circuit breaker was open.
function shadeOutages(chart) {
	const { ctx, bbox } = chart;
	ctx.save();
	ctx.fillStyle = colour("--outage");
	for (const sample of samples) {
		if (!sample.redis_stopped && sample.breaker === "closed") continue;
		const from = Math.max(chart.valToPos(sample.t - 1, "x", true), bbox.left);
		ctx.fillRect(from, bbox.top, chart.valToPos(sample.t, "x", true) - from, bbox.height);
	}
	ctx.restore();
}

// complete adds the ratios to a sample. A second without answers has no latency, and one without reads has no ratios.
function complete(sample) {
	const asked = sample.hits_near + sample.hits_redis + sample.hits_stale + sample.misses;
	const ratio = (hits) => (asked ? (100 * hits) / asked : null);
	Object.assign(sample, {
		near_ratio: ratio(sample.hits_near), redis_ratio: ratio(sample.hits_redis), stale_ratio: ratio(sample.hits_stale), miss_ratio: ratio(sample.misses),
	});
	if (!sample.p50_ms) sample.p50_ms = sample.p99_ms = null;
	return sample;
}

function data(series) {
	return [samples.map((s) => s.t), ...series.map(([, field]) => samples.map((s) => s[field]))];
}

const round = (v) => (v == null ? "–" : v >= 100 ? Math.round(v) : Math.round(v * 10) / 10);

function add(sample) {
	samples.push(complete(sample));
	if (samples.length > seconds) samples.shift();
	charts.forEach((chart, i) => chart.setData(data(plots[i][3])));
	at("plots").dataset.samples = samples.length;
	at("figures").replaceChildren(...plots.flatMap(([, title, unit, series]) => series.map(([label, field]) => {
		const row = document.createElement("tr");
		const head = document.createElement("th");
		head.scope = "row";
		head.textContent = `${title}: ${label}`;
		const cell = document.createElement("td");
		cell.textContent = `${round(sample[field])} ${unit}`;
		row.append(head, cell);
		return row;
	})));
	for (const place of document.querySelectorAll("[data-figure]")) place.textContent = round(sample[place.dataset.figure]);
	describe(sample);
}

function describe(sample) {
	const traffic = sample.traffic_users ? `${sample.traffic_users} virtual users for ${sample.traffic_seconds} s more.` : "No virtual users.";
	const redis = sample.redis_stopped ? `Redis is stopped for ${sample.redis_seconds} s more` : "Redis is running";
	at("state").textContent = `${traffic} ${redis}; the circuit breaker is ${sample.breaker}.`;
	at("state").dataset.breaker = sample.breaker;
	const changes = `${sample.traffic_users ? "Virtual users are active" : "No virtual users"}. Redis is ${sample.redis_stopped ? "stopped" : "running"}.`;
	if (at("changes").textContent !== changes) at("changes").textContent = changes; // screen readers announce changes, not each second
	if (at("break")) {
		at("break").textContent = sample.redis_stopped ? "Restore Redis" : "Stop Redis";
		at("break").setAttribute("aria-pressed", String(sample.redis_stopped));
	}
	follow(sample);
	compare();
}

const isOutage = (sample) => sample.redis_stopped || sample.breaker !== "closed";
const recent = 60; // seconds in which the page shows the recovery

let outage; // the outage that goes on, or the last one

// follow shows what the outage changes, and after it what happened.
function follow(sample) {
	const on = isOutage(sample);
	if (on && (!outage || outage.ended)) outage = { began: sample.t, stopped: 0, answered: 0, failed: 0 };
	if (on) {
		outage.stopped += sample.redis_stopped ? 1 : 0;
		outage.answered += sample.rps - sample.errors;
		outage.failed += sample.errors;
	} else if (outage && !outage.ended) {
		outage.ended = sample.t;
		const failed = `${Math.round(outage.failed)} had an error (status 500 or above)`;
		at("recovery").textContent = `Redis was stopped for ${outage.stopped} s. Of ${Math.round(outage.answered + outage.failed)} requests in this time, ${failed}. Each section states what happened next.`;
	}
	at("outage").hidden = !on;
	const after = !on && outage !== undefined && sample.t - outage.ended < recent;
	at("recovery").hidden = !after;
	for (const text of document.querySelectorAll(".during")) text.hidden = !on;
	for (const text of document.querySelectorAll(".after")) text.hidden = !after;
}

const compared = 15; // seconds, so that seconds with empty caches soon leave the comparison

// compare shows the median of the answers in the last seconds with Redis, and in the last seconds without it.
function compare() {
	for (const [id, counted] of [["p50-healthy", (s) => !isOutage(s)], ["p50-stopped", (s) => s.redis_stopped && s.breaker === "open"]]) {
		const times = samples.filter((s) => s.p50_ms && s.traffic_users && counted(s)).map((s) => s.p50_ms).slice(-compared).sort((a, b) => a - b);
		at(id).textContent = times.length ? `${round(times[Math.floor(times.length / 2)])} ms` : "–";
	}
}

const post = (path, body) => ask(path, body, "demo-problem");

at("traffic").addEventListener("submit", (event) => {
	event.preventDefault();
	post("/demo/traffic", { users: Number(at("traffic-users").value), seconds: Number(at("traffic-seconds").value) });
});
at("traffic-users").addEventListener("input", () => { at("traffic-shown").textContent = at("traffic-users").value; });
at("traffic-stop").addEventListener("click", () => post("/demo/traffic", { users: 0, seconds: 0 }));
at("break")?.addEventListener("click", () => {
	post("/demo/redis", { state: at("break").getAttribute("aria-pressed") === "true" ? "resume" : "stop" });
});

// On a phone the code is closed at first: it is longer than the story.
if (matchMedia("(max-width: 43.99rem)").matches) for (const code of document.querySelectorAll(".code")) code.open = false;

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let width = innerWidth;
addEventListener("resize", () => {
	if (innerWidth === width) return;
	width = innerWidth;
	draw();
});
new EventSource("/demo/live").onmessage = (event) => add(JSON.parse(event.data));
