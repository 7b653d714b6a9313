package browser_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/built"
	"github.com/redstart-go/redstart/service/internal/pgtest"
)

// shops starts n instances on one Redis and one database, and returns their addresses. One instance
// uses SQLite, several use PostgreSQL. The command timeout is long, for a busy machine.
func shops(t *testing.T, n int, env ...string) []string {
	t.Helper()
	newDatabase := pgtest.SQLite
	if n > 1 {
		newDatabase = pgtest.Postgres
	}
	settings := append([]string{
		"ADDR=127.0.0.1:0",
		"DEMO=true",
		"DATABASE_URL=" + newDatabase(t),
		"REDIS_URL=" + rig.Shared(t).URL(),
		"REDIS_NAMESPACE=" + rig.Prefix(t), // shared: all instances are one shop
		"REDIS_COMMAND_TIMEOUT=5s",
		"HOME=" + t.TempDir(),
	}, env...)
	urls := make([]string, n)
	for i := range urls {
		cmd := exec.Command(built.Shop(t))
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
