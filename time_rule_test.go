package redstart_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machineTime has the files of patterns that read the clock of the machine, and how often. A
// decision reads core.Time instead: in a test, redstarttest.Advance moves it. The files here
// measure durations, write a time into an id or a message, order events of this process, or set a
// deadline of the operating system.
var machineTime = map[string]int{
	"cache/fill.go":         3, // cost of a load; whether an invalidation came after a request
	"cache/guard.go":        2, // duration of a load
	"cache/load.go":         1, // whether an invalidation came after a request
	"cache/miss.go":         1, // whether a shared load began after this call
	"cache/near_suspect.go": 1, // whether a shared answer came after a call began
	"cache/refresh.go":      1, // whether a shared load began after this call
	"cache/release.go":      1, // whether an invalidation came after a request
	"cache/store.go":        1, // the time of the server before its first answer

	"events/gap.go":        1, // time in a report
	"events/groups.go":     1, // age of the oldest event, for a gauge
	"events/janitor.go":    1, // id
	"events/live_probe.go": 1, // id
	"events/operation.go":  1, // time in a report
	"events/outbox.go":     3, // id; when to renew a lease whose end the database decides; a log line
	"events/own.go":        1, // id
	"events/poll.go":       1, // how long handlers have run
	"events/queue.go":      2, // how long handlers have run
	"events/request.go":    1, // id
	"events/run.go":        2, // id; how long handlers have run
	"events/sse_body.go":   2, // how long an encoded event is shared
	"events/sse_stream.go": 1, // deadline of a connection
	"events/stats.go":      1, // age for a gauge
	"events/subscriber.go": 1, // lag
	"events/work.go":       2, // how long handlers have run

	"lock/wake.go": 2, // how long a subscription is idle

	"session/store.go": 1, // an expiry that the caller of a Store states

	"ratelimit/calendar_args.go": 2, // the clock of the server, as the difference from this one
	"ratelimit/plancache.go":     1, // last use of an entry
	"ratelimit/queue.go":         1, // the deadline of a caller's context
	"ratelimit/wait.go":          2, // duration of a wait
}

// Patterns do not decide by the clock of the machine. A new use of it needs a line in machineTime.
func TestPatternsTakeTheTimeFromTheirClient(t *testing.T) {
	t.Parallel()
	found := map[string]int{}
	for _, file := range sources(t, ".go") {
		if !isPattern(roomOf(path.Dir(file))) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := readsOfTime(parsed); n > 0 {
			found[file] = n
		}
	}
	for file, n := range found {
		if n > machineTime[file] {
			t.Errorf("%s reads the clock of the machine %d times, allowed are %d: use core.Time(), or add the reason to machineTime",
				file, n, machineTime[file])
		}
	}
	for file, n := range machineTime {
		if n > found[file] {
			t.Errorf("%s reads the clock of the machine %d times: lower its number in machineTime from %d", file, found[file], n)
		}
	}
}

// readsOfTime counts time.Now, time.Since and time.Until, called or passed as functions.
func readsOfTime(file *ast.File) (n int) {
	ast.Inspect(file, func(node ast.Node) bool {
		if s, ok := node.(*ast.SelectorExpr); ok {
			if p, ok := s.X.(*ast.Ident); ok && p.Name == "time" && slices.Contains([]string{"Now", "Since", "Until"}, s.Sel.Name) {
				n++
			}
		}
		return true
	})
	return n
}
