// Plots what the instance did, second by second, and steers the traffic and the outage.

const at = (id) => document.getElementById(id);
const seconds = 90;

// Each plot: a title, a unit, and its series: name, field of the sample, colour of the style sheet.
const plots = [
	["Requests per second", "/s", [["requests", "rps", "--plot-a"], ["errors", "errors", "--plot-d"]]],
	["Latency, ms", "ms", [["p50", "p50_ms", "--plot-a"], ["p99", "p99_ms", "--plot-d"]]],
	["Cache, keys per second", "/s", [["near", "hits_near", "--plot-a"], ["Redis", "hits_redis", "--plot-b"], ["stale", "hits_stale", "--plot-c"], ["miss", "misses", "--plot-d"]]],
	["Loads per second", "/s", [["avoided", "loads_avoided", "--plot-b"], ["loads", "loads", "--plot-d"]]],
	["Locks per second", "/s", [["acquired", "lock_acquired", "--plot-b"], ["waited", "lock_waits", "--plot-d"]]],
	["Rate limiter per second", "/s", [["allowed", "limit_allowed", "--plot-b"], ["refused", "limit_refused", "--plot-d"]]],
	["Events per second", "/s", [["published", "events_published", "--plot-a"], ["handled", "events_handled", "--plot-b"]]],
];

const samples = [];
let charts = [];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// draw makes the plots anew: at the start, and when colours or width change.
function draw() {
	for (const chart of charts) chart.destroy();
	at("plots").replaceChildren();
	const width = Math.max(240, (at("plots").clientWidth - 16) / 2);
	charts = plots.map(([title, unit, series]) => {
		const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
		return new uPlot({
			title, width, height: 160,
			legend: { live: false },
			cursor: { drag: { x: false, y: false } },
			scales: { x: { time: true, range: span }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
			axes: [{ ...axis, space: 80 }, { ...axis, size: 44 }],
			series: [{}, ...series.map(([label, , name]) => ({
				label, stroke: colour(name), width: 1.5, points: { show: false },
			}))],
		}, data(series), at("plots"));
	});
}

// span is what the time axis shows: the same span from the first second on.
function span() {
	const last = samples.at(-1)?.t ?? Date.now() / 1000;
	return [last - seconds, last];
}

function data(series) {
	return [samples.map((s) => s.t), ...series.map(([, field]) => samples.map((s) => s[field]))];
}

const round = (v) => (v >= 100 ? Math.round(v) : Math.round(v * 10) / 10);

function add(sample) {
	samples.push(sample);
	if (samples.length > seconds) samples.shift();
	charts.forEach((chart, i) => chart.setData(data(plots[i][2])));
	at("plots").dataset.samples = samples.length;
	at("figures").replaceChildren(...plots.flatMap(([title, unit, series]) => series.map(([label, field]) => {
		const row = document.createElement("tr");
		const head = document.createElement("th");
		head.scope = "row";
		head.textContent = `${title}: ${label}`;
		const cell = document.createElement("td");
		cell.textContent = `${round(sample[field])} ${unit}`;
		row.append(head, cell);
		return row;
	})));
	tell(sample);
}

function tell(sample) {
	const traffic = sample.traffic_users ? `${sample.traffic_users} virtual users are at work.` : "No traffic but yours.";
	const redis = sample.redis_stopped ? "Redis is broken" : "Redis answers";
	at("state").textContent = `${traffic} ${redis}; the circuit breaker is ${sample.breaker}.`;
	at("state").dataset.breaker = sample.breaker;
	if (at("break")) {
		at("break").textContent = sample.redis_stopped ? "Mend Redis" : "Break Redis";
		at("break").setAttribute("aria-pressed", String(sample.redis_stopped));
	}
}

async function post(path, body) {
	const place = at("demo-problem");
	try {
		const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
		const answer = await response.json().catch(() => ({}));
		place.textContent = response.ok ? "" : answer.detail || answer.title || `The shop answered ${response.status}.`;
	} catch {
		place.textContent = "The shop does not answer.";
	}
}

at("traffic").addEventListener("submit", (event) => {
	event.preventDefault();
	post("/demo/traffic", { users: Number(at("traffic-users").value), seconds: 60 });
});
at("traffic-users").addEventListener("input", () => { at("traffic-shown").textContent = at("traffic-users").value; });
at("traffic-stop").addEventListener("click", () => post("/demo/traffic", { users: 0, seconds: 0 }));
at("break")?.addEventListener("click", () => {
	post("/demo/redis", { state: at("break").getAttribute("aria-pressed") === "true" ? "resume" : "stop" });
});

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let width = innerWidth;
addEventListener("resize", () => {
	if (innerWidth === width) return;
	width = innerWidth;
	draw();
});
new EventSource("/demo/live").onmessage = (event) => add(JSON.parse(event.data));
