package redstart_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/redstart-go/redstart"

var patterns = []string{"cache", "lock", "events", "session", "ratelimit", "idempotency"}

// mayImport has, for each room, the other rooms that its code may import, tests excepted. "pattern"
// stands for each of the six patterns, "redstart" for the root package. observe imports the
// standard library alone, so each room can use it.
var mayImport = map[string][]string{
	"service": {"bench", "adapters", "console", "inspect", "pattern", "redstart", "codec", "observe", "embedded", "internal"},
	"cmd":     {"adapters", "console", "inspect", "pattern", "redstart", "codec", "observe", "internal"},
	// Users copy an adapter as an example, so it needs nothing internal.
	"adapters":     {"pattern", "redstart", "codec", "observe"},
	"console":      {"inspect", "redstart", "observe", "internal"},
	"inspect":      {"pattern", "redstart", "codec", "observe", "internal"},
	"bench":        {"pattern", "redstart", "codec", "observe", "embedded", "internal"},
	"pattern":      {"redstart", "codec", "observe", "internal"},
	"redstart":     {"observe", "internal"},
	"embedded":     {"observe", "internal"},
	"redstarttest": {"redstart", "embedded", "observe", "internal"},
	"codec":        {"observe", "internal"},
	"observe":      {},
	"internal":     {"observe"},
	// The test rig starts servers, opens clients on them, and uses each pattern once to get each
	// metric. Only tests import it.
	"internal/rig": {"pattern", "redstart", "embedded", "observe", "internal"},
}

// netHTTP lists the files of the library, as patterns of package path, that may import net/http.
var netHTTP = []string{
	"session/*.go",
	"ratelimit/middleware.go", "ratelimit/header.go", "ratelimit/key.go",
	"ratelimit/cost.go", "ratelimit/permit.go", "ratelimit/transport.go",
	"events/sse*.go",
	"internal/rig/httpsuite/*.go",
	"console/*.go", "idempotency/*.go",
}

// badNames are names that do not describe the content.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "types", "impl", "misc"}

const maxLines = 400

func TestImportsFollowTheArrows(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".go") {
		from := roomOf(path.Dir(file))
		for _, imported := range importsOf(t, file) {
			rel, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			to := roomOf(strings.TrimPrefix(rel, "/"))
			isTest := strings.HasSuffix(file, "_test.go")
			switch {
			case isPattern(from) && isPattern(to) && from != to:
				t.Errorf("%s imports %s: a pattern never imports another", file, imported)
			case isTest || from == to:
			case path.Dir(file) == "service/internal/built", path.Dir(file) == "service/internal/pgtest": // only tests use them
			case to == "internal/rig" && from != "internal/rig":
				t.Errorf("%s imports %s: only tests start servers", file, imported)
			case !slices.Contains(mayImport[class(from)], class(to)):
				t.Errorf("%s imports %s: mayImport has no arrow from %s to %s", file, imported, class(from), class(to))
			}
		}
	}
}

func TestOnlyHTTPFilesImportNetHTTP(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".go") {
		if ownModule(roomOf(path.Dir(file))) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		allowed := slices.ContainsFunc(netHTTP, func(pattern string) bool {
			ok, _ := path.Match(pattern, file)
			return ok
		})
		if !allowed && slices.Contains(importsOf(t, file), "net/http") {
			t.Errorf("%s imports net/http, which only these may: %s", file, strings.Join(netHTTP, ", "))
		}
	}
}

func TestObserveImportsTheStandardLibraryAlone(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".go") {
		if roomOf(path.Dir(file)) != "observe" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, imported := range importsOf(t, file) {
			if host, _, _ := strings.Cut(imported, "/"); strings.Contains(host, ".") {
				t.Errorf("%s imports %s", file, imported)
			}
		}
	}
}

// The patterns send commands through internal/core only. The client library is a detail of core.
func TestPatternsDoNotImportTheClientLibrary(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".go") {
		if !isPattern(roomOf(path.Dir(file))) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		if slices.Contains(importsOf(t, file), "github.com/redis/rueidis") {
			t.Errorf("%s imports rueidis", file)
		}
	}
}

// Only tests arm failpoints. No option, flag or environment variable does.
func TestArchOnlyTestsArmFailpoints(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".go") {
		room := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") || room == "internal/rig" {
			continue
		}
		content, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(".Arm(")) || bytes.Contains(content, []byte(".ArmLook(")) {
			t.Errorf("%s arms a failpoint", file)
		}
	}
}

func TestFilesAreOneIdea(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t, ".go", ".lua", ".js") {
		name := strings.TrimSuffix(path.Base(file), path.Ext(file))
		folder := path.Base(path.Dir(file))
		for _, word := range []string{strings.TrimSuffix(name, "_test"), folder} {
			if slices.Contains(badNames, word) {
				t.Errorf("%s: %q does not describe the content", file, word)
			}
		}
		if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "/vendor/") || strings.HasSuffix(file, ".min.js") {
			continue
		}
		content, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(content, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines; the limit is %d", file, lines, maxLines)
		}
	}
}

// sources returns the project's files with one of the extensions, slash-separated and relative to
// the root.
func sources(t *testing.T, extensions ...string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if file != "." && strings.HasPrefix(name, ".") || name == "artifacts" || name == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.Contains(extensions, filepath.Ext(name)) {
			files = append(files, filepath.ToSlash(file))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no %v files found: the walk is broken", extensions)
	}
	return files
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	imports := make([]string, 0, len(parsed.Imports))
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		imports = append(imports, imported)
	}
	return imports
}

// roomOf returns the room of a folder: its first part, or "redstart" for the root.
func roomOf(folder string) string {
	if folder == "." || folder == "" {
		return "redstart"
	}
	if folder == "internal/rig" || strings.HasPrefix(folder, "internal/rig/") {
		return "internal/rig"
	}
	room, _, _ := strings.Cut(folder, "/")
	return room
}

// ownModule reports whether the folders of a room have modules of their own.
func ownModule(room string) bool {
	return slices.Contains([]string{"service", "bench", "cmd", "adapters"}, room)
}

func isPattern(room string) bool { return slices.Contains(patterns, room) }

// class returns the name of a room in mayImport.
func class(room string) string {
	if isPattern(room) {
		return "pattern"
	}
	return room
}
