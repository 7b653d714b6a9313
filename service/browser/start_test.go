package browser_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// binary is the shop, built once for all tests.
var binary struct {
	once sync.Once
	file string
	err  error
}

func build(t *testing.T) string {
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
		if out, err := exec.Command("go", append(args, "..")...).CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.file
}

// shops starts n instances on one Redis and one database, and returns their addresses. A command waits for Redis as long as a
// busy machine may make it wait.
func shops(t *testing.T, n int, env ...string) []string {
	t.Helper()
	settings := append([]string{
		"ADDR=127.0.0.1:0",
		"DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "shop.db"),
		"REDIS_URL=" + rig.Shared(t).URL(),
		"REDIS_NAMESPACE=" + rig.Prefix(t), // one for all: they are one shop
		"REDIS_COMMAND_TIMEOUT=5s",
		"HOME=" + t.TempDir(),
	}, env...)
	urls := make([]string, n)
	for i := range urls {
		cmd := exec.Command(build(t))
		cmd.Dir, cmd.Env = t.TempDir(), append(settings, fmt.Sprint("INSTANCE=shop-", i+1))
		shop := rig.Program(t, cmd)
		for urls[i] == "" {
			if url, ok := strings.CutPrefix(shop.Line(patience), "Shop:"); ok {
				urls[i] = strings.TrimSpace(url)
			}
		}
	}
	return urls
}
