package inspect_test

import (
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) { rig.Main(m) }

// open connects with a patient timeout: no test here is about time.
func open(t testing.TB, url, namespace string, changes ...func(*redstart.Config)) *redstart.Client {
	t.Helper()
	return rigclient.Open(t, url, namespace,
		append([]func(*redstart.Config){rigclient.Within(5 * time.Second)}, changes...)...)
}

// newInspector returns an Inspector that may repair.
func newInspector(t testing.TB, client *redstart.Client) *inspect.Inspector {
	t.Helper()
	in, err := inspect.New(client, inspect.Options{Actor: "ana"})
	if err != nil {
		t.Fatal(err)
	}
	return in
}
