package idempotency

import (
	"fmt"
	"sync/atomic"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
)

// Executor executes requests once per key, over all processes. Use [New]. Its methods are safe for
// concurrent use.
type Executor struct {
	core  *core.Core
	name  string
	space keys.Space
	opt   Options

	counts counters
	// pending is the number of writes that are tried again in the background.
	pending atomic.Int64
}

// New returns an [Executor]. Executors with the same name and namespace share their keys, in all
// processes; they should have the same options. The name is from 1 to 128 bytes long. New makes no
// round trip.
func New(client *redstart.Client, name string, opts Options) (*Executor, error) {
	if client == nil {
		return nil, errNoClient
	}
	if name == "" {
		return nil, errNoName
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	c := clientcore.Of(client)
	space, err := c.Keys("idempotency", name)
	if err != nil {
		return nil, fmt.Errorf("idempotency: name: %w", err)
	}

	e := &Executor{core: c, name: name, space: space, opt: opts}
	c.OnMetrics(e.metrics)
	return e, nil
}
