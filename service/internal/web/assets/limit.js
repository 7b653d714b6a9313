// The rate limit story: requests with a limit, their headers, and a bucket that drains and fills.
// Text from the server is only assigned to textContent. It is never markup.

const at = (id) => document.getElementById(id);
const fields = ["RateLimit-Policy", "RateLimit", "Retry-After"];

// bucket is the state of the last answer: tokens at a time, quota and seconds in which the quota returns.
let bucket;
let timer;

function remember(response) {
	const left = Number(/;r=(\d+)/.exec(response.headers.get("RateLimit") ?? "")?.[1] ?? Number.NaN);
	const [, quota, seconds] = /;q=(\d+);w=(\d+)/.exec(response.headers.get("RateLimit-Policy") ?? "") ?? [];
	bucket = Number.isNaN(left) ? undefined : { left, quota: Number(quota), seconds: Number(seconds), at: performance.now() };
	at("limit-headers").textContent = [`Status: ${response.status}`,
		...fields.filter((f) => response.headers.get(f)).map((f) => `${f}: ${response.headers.get(f)}`)].join("\n");
	at("limit-headers").hidden = false;
}

// drawBucket shows the tokens of now. The page counts them up at the rate of the plan, until the bucket is full.
function drawBucket() {
	clearTimeout(timer);
	if (!bucket) {
		at("limit-bucket").textContent = "The last answer has no count, because Redis did not answer.";
		at("limit-level").style.width = "0";
		return;
	}
	const { left, quota, seconds, at: since } = bucket;
	const tokens = Math.min(quota, left + ((performance.now() - since) / 1000) * (quota / seconds));
	at("limit-bucket").textContent = `${Math.floor(tokens)} of ${quota} tokens`;
	at("limit-bucket").dataset.tokens = Math.floor(tokens);
	at("limit-level").style.width = `${(100 * tokens) / quota}%`;
	if (tokens < quota) timer = setTimeout(drawBucket, 100);
}

async function request(n) {
	for (const button of [at("limit-one"), at("limit-many")]) button.disabled = true;
	at("limit-problem").textContent = "";
	let served = 0;
	let refused = 0;
	try {
		for (let i = 0; i < n; i++) {
			const response = await fetch(`/demo/limit/request?plan=${at("limit-plan").value}`, { method: "POST" });
			await response.text();
			if (response.status === 429) refused++;
			else if (response.ok) served++;
			else throw new Error(`The shop responded with status ${response.status}.`);
			remember(response);
		}
		const counts = await (await fetch("/demo/limit")).json();
		for (const [name, count] of Object.entries(counts)) at(`limit-${name}`).textContent = count;
	} catch (error) {
		at("limit-problem").textContent = error instanceof TypeError ? "The shop does not answer." : error.message;
	} finally {
		for (const button of [at("limit-one"), at("limit-many")]) button.disabled = false;
	}
	at("limit-result").textContent = `${new Date().toLocaleTimeString()}: ${served} served, ${refused} refused.`;
	at("limit-result").dataset.refused = refused;
	drawBucket();
}

at("limit-one").addEventListener("click", () => request(1));
at("limit-many").addEventListener("click", () => request(30));
