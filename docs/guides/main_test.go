// Package guides_test has the code of the guides in this folder. Each guide shows declarations of
// the file of its name.
package guides_test

import (
	"context"
	"log"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// start returns a client on an embedded server, and the function that ends both.
func start(ctx context.Context) (client *redstart.Client, end func()) {
	server := must(embedded.Start(ctx, embedded.Options{}))
	client = must(redstart.Open(ctx, redstart.Config{URL: server.URL()}))
	return client, func() {
		_ = client.Close()
		_ = server.Close()
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
