package session_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestSCS_PublishedSessionTests runs the tests of scs on session.Store: the files session_test.go,
// session_go120_test.go and data_test.go of github.com/alexedwards/scs/v2 v2.9.0, unchanged. The
// test copies scs from the module cache and replaces its memstore, which scs.New uses, by
// testdata/memstore. The tests use managers over TLS with a cookie jar: LoadAndSave, RenewToken,
// Destroy, RememberMe, Lifetime, IdleTimeout.
//
// TestIterate is omitted: it needs a list of all tokens, and Store can't list tokens (S6).
//
// TestIdleTimeout sleeps with a margin of 50 ms, TestLifetime with a margin of 0.5 s. So a failed
// test runs again alone. A defect of the store fails each time.
func TestSCS_PublishedSessionTests(t *testing.T) {
	t.Parallel()
	binary := buildSCS(t)
	env := []string{"SCS_REDIS_URL=" + rig.Shared(t).URL(), "SCS_NAMESPACE=" + rig.Prefix(t)}
	passed, failed, output := runSCS(t, binary, env, "")
	for again := 0; len(failed) > 0 && again < 10; again++ {
		var still []string
		for _, name := range failed {
			ok, _, out := runSCS(t, binary, env, "^"+name+"$")
			if len(ok) == 1 {
				passed = append(passed, ok[0])
			} else {
				still, output = append(still, name), out
			}
		}
		failed = still
	}
	if len(failed) > 0 || len(passed) < 25 {
		t.Fatalf("%d passed, failed: %v\n%s", len(passed), failed, output)
	}
	for _, name := range []string{"TestEnable", "TestLifetime", "TestIdleTimeout", "TestDestroy",
		"TestRenewToken", "TestRememberMe", "TestFlusher"} {
		if !strings.Contains(" "+strings.Join(passed, " ")+" ", " "+name+" ") {
			t.Errorf("%s was not run", name)
		}
	}
	t.Logf("%d of scs' tests passed: %v", len(passed), passed)
}

// buildSCS compiles the tests of scs with the replaced store, in a separate workspace, and returns
// the binary.
func buildSCS(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	bench, root := filepath.Dir(here), filepath.Dir(filepath.Dir(here))
	list := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "github.com/alexedwards/scs/v2")
	list.Env = append(os.Environ(), "GOWORK=off")
	list.Dir = bench
	listed, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	version, source, _ := strings.Cut(strings.TrimSpace(string(listed)), " ")
	if version != "v2.9.0" {
		t.Errorf("scs is %s: correct the version in the comment above", version)
	}
	work, scs := t.TempDir(), ""
	scs = filepath.Join(work, "scs")
	if err := os.CopyFS(scs, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	store, err := os.ReadFile(filepath.Join("testdata", "memstore", "memstore.go"))
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(scs, "memstore", "memstore.go")
	// The module cache is read-only, and its copies are too.
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, store, 0o600); err != nil {
		t.Fatal(err)
	}
	workspace := filepath.Join(work, "go.work")
	if err := os.WriteFile(workspace, fmt.Appendf(nil, "go 1.26.0\n\nuse (\n\t%s\n\t%s\n\t%s\n)\n", root,
		bench, scs), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(work, "scs.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir = scs
	build.Env = append(os.Environ(), "GOWORK="+workspace, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	return binary
}

var scsResult = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+)`)

func runSCS(t *testing.T, binary string, env []string, pattern string) (passed, failed []string, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", pattern, "-test.skip",
		"^TestIterate$", "-test.timeout", time.Minute.String())
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	for _, m := range scsResult.FindAllStringSubmatch(string(out), -1) {
		if m[1] == "PASS" {
			passed = append(passed, m[2])
		} else {
			failed = append(failed, m[2])
		}
	}
	if err != nil && len(failed) == 0 {
		t.Fatalf("scs' tests: %v\n%s", err, out)
	}
	return passed, failed, string(out)
}
