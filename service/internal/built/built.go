// Package built compiles the shop, for tests that run it as a separate process.
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

// Shop returns the path of the shop's binary. It has the race detector if the tests have it.
func Shop(t testing.TB) string {
	t.Helper()
	var flags []string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "-race" && setting.Value == "true" {
				flags = append(flags, "-race") // the build cache has the packages of the tests
			}
		}
	}
	return shop.build(t, "shop", flags...)
}

// Demo returns the path of the binary of make run: the shop without the parts that the demo does
// not show, and without the race detector.
func Demo(t testing.TB) string {
	t.Helper()
	return demo.build(t, "demo", "-tags", "demo")
}

func (p *program) build(t testing.TB, name string, flags ...string) string {
	t.Helper()
	p.once.Do(func() {
		p.file = filepath.Join(rig.Dir(t), name)
		args := append([]string{"build", "-o", p.file}, flags...)
		output, err := exec.Command("go", append(args, "github.com/redstart-go/redstart/service")...).CombinedOutput()
		if err != nil {
			p.err = fmt.Errorf("go build: %w\n%s", err, output)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.file
}
