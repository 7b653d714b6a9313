// Reads and edits the user without leaving the page, and keeps a list of the reads.
// Text from the server goes into textContent alone: it is never markup.

const at = (id) => document.getElementById(id);
const main = document.querySelector("main");
const maxReads = 12;

// answerOf says which tier answered and how long it took, from the response's Server-Timing header.
function answerOf(response) {
	const [, source, took] = /^(\w+);dur=([\d.]+)$/.exec(response.headers.get("Server-Timing") ?? "") ?? [];
	return { source, took };
}

async function problemOf(response) {
	const problem = await response.json().catch(() => ({}));
	return problem.detail || problem.title || `The shop answered ${response.status}.`;
}

async function read(id) {
	const response = await fetch(`/api/users/${id}`);
	main.dataset.user = id;
	at("user").hidden = !response.ok;
	document.querySelector("#edit fieldset").disabled = !response.ok;
	at("problem").textContent = "";
	if (!response.ok) {
		at("answer").textContent = await problemOf(response);
		return;
	}
	const user = await response.json();
	at("name").textContent = at("edit-name").value = user.name;
	at("email").textContent = at("edit-email").value = user.email;
	show(answerOf(response), user);
}

function show({ source, took }, user) {
	const strong = document.createElement("strong");
	strong.id = "source";
	strong.dataset.source = strong.textContent = source;
	const time = document.createElement("span");
	time.id = "took";
	time.textContent = Number(took).toFixed(2);
	at("answer").replaceChildren("Answered by the ", strong, " in ", time, " ms.");
	list(source, time.textContent, user.name);
}

function list(source, took, name) {
	const line = document.createElement("li");
	line.dataset.source = source;
	line.textContent = `${name}: ${source}, ${took} ms`;
	at("reads").prepend(line);
	while (at("reads").children.length > maxReads) at("reads").lastChild.remove();
}

async function save(id, change) {
	const response = await fetch(`/api/users/${id}`, {
		method: "PATCH",
		headers: { "Content-Type": "application/json" },
		body: JSON.stringify(change),
	});
	if (!response.ok) {
		at("problem").textContent = await problemOf(response);
		return;
	}
	await read(id);
}

// on runs the handler in place of the browser's own, and says so when the shop cannot be reached.
function on(form, handler) {
	at(form).addEventListener("submit", async (event) => {
		event.preventDefault();
		try {
			await handler(new FormData(event.target));
		} catch {
			at("problem").textContent = "The shop does not answer.";
		}
	});
}

on("choose", (form) => read(form.get("user")));
on("edit", (form) => save(main.dataset.user, { name: form.get("name"), email: form.get("email") }));

if (at("source")) list(at("source").textContent, at("took").textContent, at("name").textContent);
