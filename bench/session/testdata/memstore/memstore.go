// Package memstore replaces github.com/alexedwards/scs/v2/memstore in
// TestSCS_PublishedSessionTests. So scs.New stores its sessions in Redis, each manager in a
// namespace of its own.
package memstore

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/session"
)

var made atomic.Int64

// New returns a store on the server of the test. Its client ends with the process.
func New() *session.Store {
	client, err := redstart.Open(context.Background(), redstart.Config{
		URL: os.Getenv("SCS_REDIS_URL"), Namespace: fmt.Sprint(os.Getenv("SCS_NAMESPACE"), made.Add(1)),
		CommandTimeout: 10 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	store, err := session.NewStore(client, "scs", session.StoreOptions{})
	if err != nil {
		panic(err)
	}
	return store
}
