package session

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/redstart-go/redstart/internal/core"
)

// managerNames maps the name of each Manager of one client to the type of its data.
type managerNames struct {
	mu    sync.Mutex
	types map[string]reflect.Type
}

// register stores that the client has a Manager of this name. Two managers of one name share their
// keys, so each accepts the tokens of the other. With different types of data that is an error.
// With the same type it is a warning in the client's log.
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
		return fmt.Errorf("session: the name %q belongs to a Manager[%v] of this client, a Manager[%v] would accept its tokens: "+
			"use another name", name, other, mine)
	}
	if taken {
		c.Logger().Warn("session: a second manager of the same name accepts the tokens of the first: use one manager, or another name",
			"name", name)
	}
	return nil
}
