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
	"events/bench_sse_test.go",
	"events/doc.go",
	"events/example_test.go",
	"events/gap_test.go",
	"events/glob_partition_test.go",
	"events/live_attack_test.go",
	"events/live_guard_test.go",
	"events/live_order_test.go",
	"events/live_send_test.go",
	"events/live_test.go",
	"events/outbox_test.go",
	"events/overflow_test.go",
	"events/publish_test.go",
	"events/sse_attack_test.go",
	"events/sse_edges_test.go",
	"events/sse_idle_test.go",
	"events/sse_resume_test.go",
	"events/sse_storm_test.go",
	"events/sse_test.go",
	"events/topics.go",
	"events/topics_test.go",
	"events/wire_test.go",

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
