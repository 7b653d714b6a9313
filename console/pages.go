package console

import "context"

// page is one page of the console.
type page struct {
	path, title, file string
	args              []string // the query arguments that it uses
	read              func(c *Console, ctx context.Context, req request) any
}

// onRequest are the arguments that show a value or the data of an event. Only the page shows it:
// its stream does not read it again.
var onRequest = []string{"value", "letter"}

// pages are the pages in the order of the navigation.
var pages = []page{
	{"/", "Overview", "overview.html", nil, (*Console).overview},
	{"/caches", "Caches", "caches.html", []string{"cache", "key", "value", "cursor"}, (*Console).cachesPage},
	{"/locks", "Locks", "locks.html", []string{"name", "kind", "group", "cursor"}, (*Console).locksPage},
	{"/limits", "Limits", "limits.html", []string{"limiter", "key", "keys", "cursor"}, (*Console).limitsPage},
	{"/sessions", "Sessions", "sessions.html", []string{"manager", "user", "cursor"}, (*Console).sessionsPage},
	{"/events", "Events", "events.html", []string{"bus", "group", "cursor", "dead", "letter", "buses"}, (*Console).eventsPage},
	{
		"/idempotency", "Idempotency", "idempotency.html", []string{"executor", "scope", "key", "value"},
		(*Console).idempotencyPage,
	},
	{"/server", "Server", "server.html", nil, (*Console).serverPage},
}
