package session_test

import (
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/session"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("session worker", worker)
	rig.Main(m)
}

// cart is the session data of the tests.
type cart struct {
	Items map[string]int
	N     int
	Note  string
}

var open = rigclient.Open

func manager(t testing.TB, client *redstart.Client, opts session.Options) *session.Manager[cart] {
	t.Helper()
	m, err := session.New[cart](client, "web", opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must[V any](t testing.TB) func(v V, err error) V {
	return func(v V, err error) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
