package redstartwatermill_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// open returns a client that ends with the test.
func open(t testing.TB, url, namespace string) *redstart.Client {
	t.Helper()
	client, err := redstart.Open(context.Background(),
		redstart.Config{URL: url, Namespace: namespace, CommandTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}
