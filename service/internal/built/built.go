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

// program is built once per test process.
type program struct {
	once sync.Once
	file string
	err  error
}

var shop, demo program

// Shop returns the shop's binary, under the race detector if the tests are.
func Shop(t testing.TB) string {
	t.Helper()
	var flags []string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "-race" && setting.Value == "true" {
				flags = append(flags, "-race") // what the tests were built from is in the build cache
			}
		}
	}
	return shop.build(t, "shop", flags...)
}

// Demo returns the binary of make run: the shop without what the demo does not show. It is never under the race detector.
func Demo(t testing.TB) string {
	t.Helper()
	return demo.build(t, "demo", "-tags", "demo")
}

func (p *program) build(t testing.TB, name string, flags ...string) string {
	t.Helper()
	p.once.Do(func() {
		p.file = filepath.Join(rig.Dir(t), name)
		args := append([]string{"build", "-o", p.file}, flags...)
		if said, err := exec.Command("go", append(args, "github.com/redstart-go/redstart/service")...).CombinedOutput(); err != nil {
			p.err = fmt.Errorf("go build: %w\n%s", err, said)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.file
}
