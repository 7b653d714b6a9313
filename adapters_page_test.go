package redstart_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// frameworks has the module that each adapter is for, and whether maxAdapterLines bounds it.
var frameworks = map[string]struct {
	module string
	sized  bool
}{
	"connect":    {"connectrpc.com/connect", true},
	"echo":       {"github.com/labstack/echo/v5", true},
	"fiber":      {"github.com/gofiber/fiber/v3", false}, // each of its two files
	"gin":        {"github.com/gin-gonic/gin", true},
	"gocron":     {"github.com/go-co-op/gocron/v2", true},
	"golimiter":  {"github.com/sethvargo/go-limiter", true},
	"goredis":    {"github.com/redis/go-redis/v9", false},
	"grpc":       {"google.golang.org/grpc", true},
	"otel":       {"go.opentelemetry.io/otel", false},
	"prometheus": {"github.com/prometheus/client_golang", false},
	"watermill":  {"github.com/ThreeDotsLabs/watermill", false},
}

const maxAdapterLines = 150

// Each adapter is in go.work, whose modules make test-all tests. docs/adapters.md and its README
// state the version of its go.mod, and the README has an example.
func TestDocsStateWhatAdaptersWereTriedWith(t *testing.T) {
	t.Parallel()
	page, work := readFile(t, "docs/adapters.md"), readFile(t, "go.work")
	folders, err := filepath.Glob("adapters/*/go.mod")
	if err != nil || len(folders) != len(frameworks) {
		t.Fatalf("%d adapters, %v, want %d: add the new one to frameworks", len(folders), err, len(frameworks))
	}
	for name, framework := range frameworks {
		required := regexp.MustCompile(regexp.QuoteMeta(framework.module) + ` v(\S+)`)
		version := required.FindStringSubmatch(readFile(t, "adapters/"+name+"/go.mod"))
		if version == nil {
			t.Errorf("%s: go.mod does not require %s", name, framework.module)
			continue
		}
		row := regexp.MustCompile(`(?m)^\|.*\(\.\./adapters/` + name + `/README\.md\).*$`).FindString(page)
		if !strings.Contains(row, " "+version[1]) {
			t.Errorf("docs/adapters.md: the row of %s is %q, want version %s", name, row, version[1])
		}
		readme := readFile(t, "adapters/"+name+"/README.md")
		if !regexp.MustCompile(`Tried with [^|]* ` + regexp.QuoteMeta(version[1]) + `\b`).MatchString(readme) {
			t.Errorf("adapters/%s/README.md does not state that it was tried with %s", name, version[1])
		}
		if !strings.Contains(readme, "<!-- Example") {
			t.Errorf("adapters/%s/README.md has no example that is compiled", name)
		}
		if !strings.Contains(work, "./adapters/"+name+"\n") {
			t.Errorf("go.work does not have adapters/%s", name)
		}
	}
}

// docs/adapters.md promises that an adapter of a framework is short.
func TestFilesAreShortInAdaptersOfFrameworks(t *testing.T) {
	t.Parallel()
	lines := map[string]int{}
	for _, file := range sources(t, ".go") {
		name, isAdapter := strings.CutPrefix(filepath.ToSlash(filepath.Dir(file)), "adapters/")
		if !isAdapter || strings.HasSuffix(file, "_test.go") || filepath.Base(file) == "doc.go" {
			continue
		}
		switch n := strings.Count(readFile(t, file), "\n"); {
		case frameworks[name].sized:
			lines["adapters/"+name] += n
		case name == "fiber":
			lines[file] = n
		}
	}
	if len(lines) != 8 {
		t.Errorf("measured %v, want six adapters and the two files of fiber", lines)
	}
	for part, n := range lines {
		if n > maxAdapterLines {
			t.Errorf("%s has %d lines, docs/adapters.md promises at most %d", part, n, maxAdapterLines)
		}
	}
}
