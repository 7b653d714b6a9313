// Package built compiles the shop for tests that run it as a process of its own.
package built

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

var binary struct {
	once sync.Once
	file string
	err  error
}

// Shop returns the shop's binary, built once per test process, under the race detector if the tests are.
func Shop(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		binary.file = filepath.Join(rig.Dir(t), "shop")
		args := []string{"build", "-o", binary.file}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, setting := range info.Settings {
				if setting.Key == "-race" && setting.Value == "true" {
					args = append(args, "-race") // what the tests were built from is in the build cache
				}
			}
		}
		if said, err := exec.Command("go", append(args, "github.com/redstart-go/redstart/service")...).CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, said)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.file
}
