// The session story: the end of a session in another window. The answer has all steps with their times.

import { ask, at, clock, element, entry, onClick } from "./page.js";

const what = {
	"laptop login": "The laptop logs in with a password, through instance A. It gets a remember-me token.",
	"phone login": "The phone logs in through instance B.",
	"laptop revoke": "The laptop revokes the phone, through instance A.",
	"phone ended": "The window of the phone is logged out.",
	"thief recalled": "A thief uses a copy of the token, through instance B. The thief gets a session and a new token.",
	"thief returned": "The thief comes back with the new token, which is replaced too.",
	"laptop reused": "The laptop comes back with its own token, which was replaced twice.",
	"thief ended": "The window of the thief is logged out.",
};

// The state of the windows after an action that ended the session: name, state, and whether it is logged in.
const windows = {
	revoke: [["Laptop, instance A", "logged in", "on"], ["Phone, instance B", "logged out", "ended"]],
	steal: [["Laptop, instance A", "asks for the password", "ended"], ["Thief, instance B", "logged out", "ended"]],
};

function show(states) {
	at("windows").replaceChildren(...states.map(([name, state, kind]) => {
		const card = element("div", "", { "data-state": kind });
		card.append(element("dt", name), element("dd", state));
		return card;
	}));
}

async function act(action, done) {
	at("session-result").textContent = "";
	const answer = await ask(`/demo/session/${action}`, {}, "session-problem");
	if (!answer) return;
	at("session-steps").replaceChildren(...answer.steps.map(({ ms, window: name, what: did }) =>
		entry(ms, what[`${name} ${did}`] ?? `${name}: ${did}`, { "data-what": `${name} ${did}` })));
	at("session-result").dataset.ended = String(answer.ended);
	at("session-result").replaceChildren(clock(), answer.ended ? `: ${done}` : ": the session is still valid.");
	if (answer.ended) show(windows[action]);
}

onClick(["session-revoke", "session-steal"], [
	() => act("revoke", "the session and the token of the phone have ended."),
	() => act("steal", "the session and all its tokens have ended. The owner logs in with the password."),
]);
