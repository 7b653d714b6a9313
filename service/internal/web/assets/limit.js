// The rate limit story: requests with a limit, their headers, and a bucket that drains and fills.

import { at, clock, dots, onClick, problemOf } from "./page.js";

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
}

// drawBucket shows the tokens of now. The page counts them up at the rate of the plan, until the bucket is full.
function drawBucket() {
	clearTimeout(timer);
	if (!bucket) {
		at("limit-bucket").textContent = "The last answer has no count, because Redis did not answer.";
		dots(at("limit-level"), 0);
		return;
	}
	const { left, quota, seconds, at: since } = bucket;
	const tokens = Math.floor(Math.min(quota, left + ((performance.now() - since) / 1000) * (quota / seconds)));
	at("limit-bucket").textContent = `${tokens} of ${quota} tokens`;
	at("limit-bucket").dataset.tokens = tokens;
	at("limit-level").dataset.quota = quota;
	dots(at("limit-level"), quota, (i) => (i < tokens ? "token" : ""));
	if (tokens < quota) timer = setTimeout(drawBucket, 100);
}

async function request(n) {
	at("limit-problem").textContent = "";
	let served = 0;
	let refused = 0;
	try {
		for (let i = 0; i < n; i++) {
			const response = await fetch(`/demo/limit/request?plan=${at("limit-plan").value}`, { method: "POST" });
			const answer = await response.json().catch(() => ({}));
			if (response.status === 429) refused++;
			else if (response.ok) served++;
			else throw new Error(problemOf(answer, response));
			remember(response);
			drawBucket();
		}
		const counts = await (await fetch("/demo/limit")).json();
		for (const [name, count] of Object.entries(counts)) at(`limit-${name}`).textContent = count;
	} catch (error) {
		at("limit-problem").textContent = error instanceof TypeError ? "The shop does not answer." : error.message;
	}
	at("limit-result").replaceChildren(clock(), `: ${served} served, ${refused} refused.`);
	at("limit-result").dataset.refused = refused;
}

at("limit-level").dataset.quota = 10;
dots(at("limit-level"), 10, () => "token");
onClick(["limit-one", "limit-many"], [() => request(1), () => request(30)]);
