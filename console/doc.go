// Package console is an http.Handler with pages for operators: the state of caches, locks, rate
// limits, sessions, events and idempotency keys of one client, live, and repairs.
//
// # What
//
// [New] returns a [Console]. Its pages show what package inspect reads, and the rates of this
// process from Client.Metrics. The pages are plain HTML and work without JavaScript. With it, they
// are live over Server-Sent Events. There is no build step and no dependency.
//
// # Quick start
//
//	c, err := console.New(client, console.Options{
//		Prefix: "/console",
//		Authorize: func(r *http.Request) (console.Role, error) {
//			return roleOf(sessions.FromContext(r.Context()).User())
//		},
//	})
//	if err != nil {
//		return err
//	}
//	mux.Handle("/console/", c)
//	server.RegisterOnShutdown(func() { c.Close() })
//
// # Guarantees
//
//   - No request is served without a role: [Options.Authorize] has no default, and its error or
//     panic refuses the request.
//   - GET and HEAD change nothing. A repair is a POST that needs the role [Operator]. It is refused
//     with a reason if Options.ReadOnly is set, if it comes from another site, or if the ACL of the
//     server's user denies it.
//   - Each repair is logged with its actor, by package inspect.
//   - Stored values are masked, unless [MaskNone] is set and an Operator requests one. A token of a
//     session is never shown.
//   - Names may hold any bytes: pages show them escaped, and at most 120 characters of each.
//   - While Redis does not answer, a page shows the last state with its age.
//   - The overview shows each finding of Doctor of package inspect with its fix. All viewers share
//     one examination.
//
// # Limits
//
// A page shows lists in parts. A list is not a snapshot; see package inspect. The rates are
// measured in this process, and the charts begin when the first page is opened. The last state is
// kept for 64 lists.
//
// The console serves at most 64 live pages with at most 32 different contents, and 16 live pages
// for one person: see Options.Actor. Further pages are static. A stream ends after five minutes,
// and the browser connects again, so that a role that was withdrawn ends. A page in the background
// has no stream.
//
// At most 16 pages are read and 8 repairs run at the same time. Further requests wait for up to
// 0.9 s, and are then answered with status 503. A form has at most 256 KiB and 10 s.
//
// Classes of errors, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
//
// # Cost
//
// Without viewers the console sends nothing. One goroutine samples the metrics of this process
// every 2 s, until five minutes after the last visit. With viewers, each different page is read
// once for all of its viewers, at most every second, and a page that is expensive for the server is
// read less often: reading takes at most a tenth of the time. Each page answers within a second.
//
// The pages Overview and Server examine each primary with 22 commands for the findings, and with 22
// more for the page Server. One examination of each kind runs at a time, for at most 5 s, and at
// most every 10 s. A page waits at most 0.7 s for it.
//
// # When not to use
//
// Use Prometheus or OpenTelemetry for alerts and for figures of more than five minutes. Use the
// command redstartctl for scripts. Do not show the console to customers: names of keys can be
// private.
package console
