// The session story: the end of a session in another window. The answer has all steps with their times.

import { ask, at, clock, element, entry, row, onClick } from "./page.js";

const what = {
	"laptop login": "The laptop logs in with a password, through instance A. It gets the remember-me token 1.",
	"phone login": "The phone logs in through instance B.",
	"laptop revoke": "The laptop revokes the phone, through instance A.",
	"phone ended": "The window of the phone is logged out.",
	"thief recalled": "A thief uses a copy of token 1, through instance B. The thief gets a session and token 2.",
	"thief returned": "The thief comes back with token 2, and gets token 3.",
	"laptop reused": "The laptop comes back with token 1. It was replaced, so all tokens that came from it end.",
	"thief ended": "The window of the thief is logged out.",
};

// The state of the windows after an action that ended the session: name, state, and whether it is logged in.
const windows = {
	none: [["Laptop, instance A", "closed", ""], ["Phone, instance B", "closed", ""]],
	revoke: [["Laptop, instance A", "logged in", "on"], ["Phone, instance B", "logged out", "ended"]],
	steal: [["Laptop, instance A", "asks for the password", "ended"], ["Thief, instance B", "logged out", "ended"]],
};

// The marks that a step draws: window, label and kind. In a theft, the laptop and the thief have tokens of one family.
const marks = {
	revoke: {
		"laptop login": [["Laptop", "logged in", "holds"]],
		"phone login": [["Phone", "logged in", "holds"]],
		"laptop revoke": [["Laptop", "revokes", "written"]],
		"phone ended": [["Phone", "logged out", "refused"]],
	},
	steal: {
		"laptop login": [["Laptop", "token 1", "holds"]],
		"thief recalled": [["Laptop", "replaced", "paused"], ["Thief", "token 2", "holds"]],
		"thief returned": [["Thief", "token 3", "holds"]],
		"laptop reused": [["Laptop", "refused", "refused"]],
		"thief ended": [["Thief", "ended", "refused"]],
	},
};

// draw shows a row for each window, with one column for each step: the times of the steps differ too much for one scale.
function draw(action, steps) {
	const rows = new Map();
	steps.forEach(({ window: name, what: did }, i) => {
		for (const [of, label, kind] of marks[action][`${name} ${did}`] ?? []) {
			const own = rows.get(of) ?? [];
			if (own.length) own.at(-1).to = i / steps.length;
			rows.set(of, [...own, { label, kind, from: i / steps.length, to: 1 }]);
		}
	});
	at("session-axes").replaceChildren(...[...rows].map(([name, own]) => row(name, own)));
}

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
	if (!answer) {
		for (const place of ["session-axes", "session-steps"]) at(place).replaceChildren();
		show(windows.none); // the drawing, the steps and the windows belong to the action before
		return;
	}
	draw(action, answer.steps);
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
