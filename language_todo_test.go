package redstart_test

// languageTodo are the folders (without their subfolders) and files whose texts are not rewritten
// yet. TestRulesLanguage names the entries that have become clean. The goal is an empty list.
var languageTodo = []string{
	// Documents.
	"docs",
	"docs/guides",

	// The call layer.

	// Caches.

	// Locks and limits.

	// Events: live, SSE, outbox.

	// Events: durable.
	"events/bench_test.go",
	"events/close.go",
	"events/close_test.go",
	"events/confirm.go",
	"events/edges_test.go",
	"events/engines_test.go",
	"events/errors.go",
	"events/export_test.go",
	"events/guard.go",
	"events/guard_test.go",
	"events/handlers_test.go",
	"events/metrics.go",
	"events/metrics_test.go",
	"events/request_test.go",
	"events/stats.go",

	// Sessions.

	// Shop, benchmarks, scripts.
}
