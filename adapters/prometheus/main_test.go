package redstartprom_test

import (
	"testing"

	"github.com/redstart-go/redstart"
	redstartprom "github.com/redstart-go/redstart/adapters/prometheus"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// open returns a client of the shared server. It ends with the test.
func open(t testing.TB, observer *redstartprom.Observer) *redstart.Client {
	t.Helper()
	c, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: observer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
