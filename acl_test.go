package redstart_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// aclFiles has the shipped users, each with the commands that it may use in addition.
var aclFiles = map[string][]string{"deploy/acl/redstart.acl": nil, "deploy/acl/redstart-scan.acl": {"scan"}}

// aclByClients has the commands that the client library sends: to connect, to follow a slot that
// moves, and to share a connection.
var aclByClients = []string{
	"hello", "auth", "ping", "quit", "reset", "select", "asking", "readonly", "readwrite", "multi", "exec",
	"client|setname", "client|caching", "client|no-evict", "cluster|slots", "cluster|shards",
	"subscribe", "unsubscribe", "ssubscribe", "sunsubscribe", "script|load", "script|exists", "evalsha_ro",
	"punsubscribe", "discard", // when a dedicated connection returns; ACL LOG would record a denial
}

var (
	aclRule   = regexp.MustCompile(`\+([a-z_|-]+)`)
	luaWord   = regexp.MustCompile(`['"]([A-Z]{2,})['"]`) // a command may be chosen before the call
	luaCall   = regexp.MustCompile(`redis\.p?call\('([A-Z]+)'(?:, *'([A-Z]+)')?`)
	goCommand = regexp.MustCompile(`"([A-Z]{2,})"(?:, *"([A-Z]+)")?|B\(\)\.([A-Z][A-Za-z]+)\(|\bb\.([A-Z][a-z]+)\(`)
)

// aclUnrecorded has the rules whose commands the shared servers of the suites never execute, with
// the situation that needs each.
var aclUnrecorded = map[string]string{
	"asking":          "a slot that is being moved to another node",
	"auth":            "a server that refuses HELLO with credentials",
	"client|caching":  "near caches of the program, on Client.Redis()",
	"client|no-evict": "a server that evicts clients (maxmemory-clients)",
	"client|setname":  "a server that refuses HELLO with a name",
	"cluster|shards":  "a cluster of Redis 8",
	"evalsha_ro":      "read-only scripts of the program, on Client.Redis()",
	"publish":         "a server without shard channels",
	"quit":            "a connection that the client closes",
	"readonly":        "reads from replicas of a cluster",
	"readwrite":       "reads from replicas of a cluster",
	"reset":           "a dedicated connection that returns",
	"subscribe":       "a server without shard channels",
	"script|exists":   "scripts of the program, on Client.Redis()",
	"script|load":     "scripts of the program, on Client.Redis()",
}

// recordedNames returns what the test rig of all packages recorded in this run of the tests: the
// "commands" of the shared servers, or the "scripts" of the embedded ones. It returns nil without a
// recording.
func recordedNames(t *testing.T, kind string) map[string]bool {
	dir := os.Getenv("REDSTART_RECORDED")
	if dir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*."+kind))
	if err != nil || len(files) == 0 {
		t.Fatalf("REDSTART_RECORDED=%s: no recordings (%v)", dir, err)
	}
	recorded := map[string]bool{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(string(content)) {
			recorded[name] = true
		}
	}
	return recorded
}

// The shipped users may execute the commands of the library, and no others. A rule without a caller
// fails the test, and so does a command of a script without a rule.
//
// REDSTART_RECORDED names a directory that the suites fill in make test-all. With it, a rule fails
// too if no suite executed its command. The suites run as these users, and the test harness fails a
// package in which the server denied them a command, so the rules suffice (A6).
//
// The test is not parallel, because it writes files that other tests read.
func TestDocsACLRulesHaveCallers(t *testing.T) {
	called, byScripts := aclCalled(t)
	recorded := recordedNames(t, "commands")
	for file, more := range aclFiles {
		text := readFile(t, file)
		var rules []string
		for _, rule := range aclRule.FindAllStringSubmatch(text[strings.LastIndex(text, "\nuser "):], -1) {
			rules = append(rules, rule[1])
		}
		if len(rules) == 0 {
			t.Fatalf("%s: no rules", file)
		}
		missing := slices.DeleteFunc(append(slices.Clone(byScripts), aclByClients...), func(name string) bool {
			return slices.Contains(rules, name)
		})
		unused := slices.DeleteFunc(slices.Clone(rules), func(name string) bool {
			executed := recorded == nil || recorded[name] || aclUnrecorded[name] != ""
			return (called[name] || slices.Contains(more, name)) && executed
		})
		if updateDocs {
			for _, name := range unused {
				text = regexp.MustCompile(` \+`+regexp.QuoteMeta(name)+`( |\n)`).ReplaceAllString(text, "$1")
			}
			text = strings.TrimRight(text, "\n")
			for _, name := range missing {
				text += " +" + name
			}
			writeFile(t, file, text+"\n")
			continue
		}
		if len(missing)+len(unused) > 0 {
			t.Errorf("%s: scripts or the client library call %v without a rule, and no code calls %v; make docs corrects both",
				file, missing, unused)
		}
	}
}

// aclCalled returns the commands in the sources of the library, in the form of rules, and the
// commands of scripts in order.
func aclCalled(t *testing.T) (called map[string]bool, byScripts []string) {
	called = map[string]bool{}
	for _, name := range aclByClients {
		called[name] = true
	}
	for _, file := range sources(t, ".go", ".lua") {
		room := roomOf(path.Dir(file))
		isLibrary := isPattern(room) || strings.HasPrefix(file, "internal/") || path.Dir(file) == "."
		if strings.HasSuffix(file, "_test.go") || !isLibrary || strings.HasPrefix(file, "internal/rig/") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if path.Ext(file) == ".lua" {
			for _, word := range luaWord.FindAllStringSubmatch(string(content), -1) {
				called[strings.ToLower(word[1])] = true
			}
			for _, call := range luaCall.FindAllStringSubmatch(string(content), -1) {
				name := strings.ToLower(call[1])
				if name == "xgroup" || name == "xinfo" {
					name += "|" + strings.ToLower(call[2])
				}
				byScripts = append(byScripts, name)
				called[name] = true
			}
			continue
		}
		for _, call := range goCommand.FindAllStringSubmatch(string(content), -1) {
			called[strings.ToLower(call[1])] = true
			if call[2] != "" {
				called[strings.ToLower(call[1]+"|"+call[2])] = true
			}
			for _, method := range call[3:] {
				called[strings.ToLower(method)] = true
				for _, container := range []string{"Client", "Cluster", "Xinfo", "Xgroup", "Script"} {
					if rest, is := strings.CutPrefix(method, container); is && rest != "" {
						called[strings.ToLower(container+"|"+rest)] = true
					}
				}
			}
		}
	}
	slices.Sort(byScripts)
	return called, slices.Compact(byScripts)
}
