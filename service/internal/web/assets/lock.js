// The lock story: two instances process one order. The answer has all steps with their times.
// Text from the server is only assigned to textContent. It is never markup.

const at = (id) => document.getElementById(id);

const what = {
	waits: "waits for the lock",
	holds: "holds the lock",
	paused: "is cut off from Redis, and can't renew its lease",
	resumed: "reaches Redis again, and continues its work",
	written: "wrote the result",
	refused: "tried to write, and Redis refused the write: a later holder has a greater token",
	unavailable: "got no lock: Redis does not answer",
	timeout: "got no lock in time",
};

function line({ ms, instance, what: did, token }) {
	const node = document.createElement("li");
	node.dataset.instance = instance;
	node.dataset.what = did;
	const time = document.createElement("span");
	time.className = "id";
	time.textContent = `${Math.round(ms)} ms `;
	const text = document.createElement("span");
	text.textContent = `Instance ${instance} ${what[did] ?? did}${token ? `, token ${token}` : ""}.`;
	node.append(time, text);
	return node;
}

async function run(button, pause) {
	for (const other of [at("lock-run"), at("lock-pause")]) other.disabled = true;
	at("lock-result").textContent = "Both instances process a new order …";
	at("lock-problem").textContent = "";
	try {
		const response = await fetch("/demo/lock/run", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ pause }) });
		const answer = await response.json().catch(() => ({}));
		if (!response.ok) {
			at("lock-result").textContent = "";
			at("lock-problem").textContent = `${answer.detail || answer.title || `The shop responded with status ${response.status}`}.`;
			return;
		}
		at("lock-steps").replaceChildren(...answer.steps.map(line));
		at("lock-result").dataset.written = answer.written;
		const result = answer.written ? `Redis has the result of instance ${answer.written}.` : "Redis has no result.";
		at("lock-result").textContent = `${new Date().toLocaleTimeString()}: ${result}`;
	} catch {
		at("lock-result").textContent = "";
		at("lock-problem").textContent = "The shop does not answer.";
	} finally {
		for (const other of [at("lock-run"), at("lock-pause")]) other.disabled = false;
		button.focus({ preventScroll: true });
	}
}

at("lock-run").addEventListener("click", () => run(at("lock-run"), false));
at("lock-pause").addEventListener("click", () => run(at("lock-pause"), true));
