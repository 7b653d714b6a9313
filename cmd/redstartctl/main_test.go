package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// update makes the tests write the pages of the verbs (make docs) and the transcripts.
var update = os.Getenv("REDSTART_UPDATE") == "1"

func TestMain(m *testing.M) { rig.Main(m) }

func open(t testing.TB, url, namespace string) *redstart.Client {
	t.Helper()
	return rigclient.Open(t, url, namespace, rigclient.Within(5*time.Second))
}

// built is the program, which the first test builds.
var built struct {
	sync.Once
	path string
	err  error
}

// program returns the path of the program.
func program(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		built.path = filepath.Join(rig.Dir(t), "redstartctl")
		cmd := exec.Command("go", "build", "-o", built.path, ".")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = err
			t.Logf("%s", out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// result is what one execution of the program left.
type result struct {
	stdout, stderr string
	code           int
}

// execute runs the program against a server.
func execute(t testing.TB, env []string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), args...)
	cmd.Env = append(withoutRedis(os.Environ()), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func asExit(err error, target **exec.ExitError) (ok bool) {
	*target, ok = err.(*exec.ExitError)
	return ok
}

// withoutRedis returns an environment without the variables that the program reads.
func withoutRedis(env []string) (kept []string) {
	for _, one := range env {
		if !strings.HasPrefix(one, "REDIS_") {
			kept = append(kept, one)
		}
	}
	return kept
}

// serverEnv returns the variables that select a server and a namespace.
func serverEnv(url, namespace string) []string {
	return []string{"REDIS_URL=" + url, "REDIS_NAMESPACE=" + namespace, "REDIS_COMMAND_TIMEOUT=5s"}
}

// A transcript is a file of command lines and their output. A line that begins with "$ redstartctl"
// is run. A line that begins with "# " is a step of the test before the next command: steps has its
// function. Output that varies is compared by its form: see normal.
//
// replace, if given, replaces each argument of a command before it runs: an id of the transcript by
// the id of this run.
func transcript(t *testing.T, file string, env []string, steps map[string]func(), replace ...func(arg string) string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "# "); ok {
			if steps[name] == nil {
				t.Fatalf("%s: there is no step %q", path, name)
			}
			steps[name]()
			got.WriteString(line + "\n")
			continue
		}
		command, ok := strings.CutPrefix(line, "$ redstartctl ")
		if !ok {
			continue
		}
		args := strings.Fields(command)
		for _, change := range replace {
			for i := range args {
				args[i] = change(args[i])
			}
		}
		r := execute(t, env, args...)
		got.WriteString("$ redstartctl " + strings.Join(args, " ") + "\n" + r.stdout + r.stderr)
		if r.code != 0 {
			got.WriteString("exit code " + string(rune('0'+r.code)) + "\n")
		}
		got.WriteString("\n")
	}
	text := strings.TrimRight(trailing.ReplaceAllString(got.String(), "\n"), "\n") + "\n"
	if update && normal(text) != normal(string(content)) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := normal(string(content)); normal(text) != want {
		t.Errorf("%s: got\n%s\nwant\n%s", path, normal(text), want)
	}
}

var (
	trailing = regexp.MustCompile(` +\n`)
	varying  = []struct {
		form *regexp.Regexp
		name string
	}{
		{regexp.MustCompile(`time=\S+`), "time=TIME"},
		{regexp.MustCompile(`\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`), "TIME"},
		{regexp.MustCompile(`\b\d{13}-\d+\b`), "POSITION"},
		{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
		{regexp.MustCompile(`\b[1-4]\d\d\b`), "BYTES"}, // a time in an envelope has no trailing zeros
		{regexp.MustCompile(`~[a-z2-7]{13}\.\d+`), "~ID"},
		{regexp.MustCompile(`\b\d{16}\b`), "TOKEN"},
		{regexp.MustCompile(`\b[A-Za-z0-9]{16}\b`), "SESSION"},
		{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|µs|s)\b`), "DURATION"},
		{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT[\d:.]+Z\b`), "TIME"},
		{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDRESS"},
		{regexp.MustCompile(` {2,}`), "  "},
	}
)

// normal replaces durations, times, tokens, ids and addresses, and the widths of columns.
func normal(text string) string {
	for _, v := range varying {
		text = v.form.ReplaceAllString(text, v.name)
	}
	return text
}
