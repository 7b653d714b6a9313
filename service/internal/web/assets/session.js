// The session story: the end of a session in another window. The answer has all steps with their times.
// Text from the server is only assigned to textContent. It is never markup.

const at = (id) => document.getElementById(id);

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

function line({ ms, window: name, what: did }) {
	const node = document.createElement("li");
	node.dataset.what = `${name} ${did}`;
	const time = document.createElement("span");
	time.className = "id";
	time.textContent = `${ms.toFixed(1)} ms `;
	const text = document.createElement("span");
	text.textContent = what[`${name} ${did}`] ?? `${name}: ${did}`;
	node.append(time, text);
	return node;
}

async function act(button, action, done) {
	for (const other of [at("session-revoke"), at("session-steal")]) other.disabled = true;
	at("session-problem").textContent = "";
	at("session-result").textContent = "";
	try {
		const response = await fetch(`/demo/session/${action}`, { method: "POST" });
		const answer = await response.json().catch(() => ({}));
		if (!response.ok) {
			at("session-problem").textContent = `${answer.detail || answer.title || `The shop responded with status ${response.status}`}.`;
			return;
		}
		at("session-steps").replaceChildren(...answer.steps.map(line));
		at("session-result").dataset.ended = String(answer.ended);
		at("session-result").textContent = `${new Date().toLocaleTimeString()}: ${answer.ended ? done : "The session is still valid."}`;
	} catch {
		at("session-problem").textContent = "The shop does not answer.";
	} finally {
		for (const other of [at("session-revoke"), at("session-steal")]) other.disabled = false;
		button.focus({ preventScroll: true });
	}
}

at("session-revoke").addEventListener("click", () => act(at("session-revoke"), "revoke", "The session and the token of the phone have ended."));
at("session-steal").addEventListener("click", () => act(at("session-steal"), "steal", "The session and all tokens have ended. The owner logs in with the password."));
