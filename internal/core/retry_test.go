package core_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
)

// hookedConn passes what it has read to a hook before the reader gets it.
type hookedConn struct {
	net.Conn
	hook func(read []byte) error
}

func (c hookedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		err = c.hook(p[:n])
	}
	return n, err
}

// A call's context ends after a reply that makes the call try again. The error is the error of the
// context, not the reply.
func TestA1_ContextEndsBeforeTheNextTry(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	var end atomic.Pointer[context.CancelFunc]
	cut := errors.New("the connection is cut")
	c := open(t, server.URL(), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			return hookedConn{nc, func(read []byte) error {
				cancel := end.Load()
				switch {
				case cancel == nil:
				case bytes.Contains(read, []byte("-NOSCRIPT")):
					(*cancel)()
				case bytes.Contains(read, []byte("-WRONGTYPE")): // stands for a lost reply
					(*cancel)()
					return cut
				}
				return nil
			}}, err
		}
	})
	key := rig.Prefix(t) + ":list"
	if _, err := c.Do(t.Context(), core.Write("RPUSH", key, "x")); err != nil {
		t.Fatal(err)
	}
	// the server does not have this script
	unknown := func() *script.Script { return script.New("return '" + rig.Prefix(t) + "'") }
	for name, call := range map[string]func(context.Context) error{
		"Eval": func(ctx context.Context) error {
			_, err := c.Eval(ctx, unknown(), []string{key}, nil)
			return err
		},
		"EvalMulti": func(ctx context.Context) error {
			_, err := c.EvalMulti(ctx, unknown(), []core.Call{{Keys: []string{key}}, {Keys: []string{key}}})[1].Get()
			return err
		},
		"a read whose reply is lost": func(ctx context.Context) error { return get(ctx, c, key) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		end.Store(&cancel)
		err := call(ctx)
		if ctx.Err() == nil {
			t.Errorf("%s: the test did not end the context: %v", name, err)
		}
		cancel()
		end.Store(nil)
		if !errors.Is(err, context.Canceled) || errors.Is(err, fault.ErrIndeterminate) || fault.Code(err) != "" {
			t.Errorf("%s: the context ended before the next try, and the error is %v", name, err)
		}
	}
}
