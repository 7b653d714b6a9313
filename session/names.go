package session

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/redstart-go/redstart/internal/core"
)

// managerNames are the managers of one client by name, each with the type of its data.
type managerNames struct {
	mu    sync.Mutex
	types map[string]reflect.Type
}

// register notes that a client has a Manager of this name. Two managers of one name share keys, so they accept each other's tokens:
// with another type of data that is an error, with the same type a warning in the client's log.
func register[T any](c *core.Core, name string) error {
	known := c.Shared("session names", func() any { return &managerNames{types: map[string]reflect.Type{}} }).(*managerNames)
	mine := reflect.TypeFor[T]()

	known.mu.Lock()
	other, taken := known.types[name]
	if !taken {
		known.types[name] = mine
	}
	known.mu.Unlock()

	if taken && other != mine {
		return fmt.Errorf("session: the name %q belongs to a Manager[%v] of this client, and this is a Manager[%v]: they would accept each other's tokens: use another name", name, other, mine)
	}
	if taken {
		c.Logger().Warn("session: a second manager of the same name accepts the first one's tokens; use one manager, or another name", "name", name)
	}
	return nil
}
