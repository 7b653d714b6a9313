package cache_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
)

// flow measures how many bytes go in one direction before any go in the other, over all connections
// of a client.
type flow struct {
	mu                    sync.Mutex
	written, read         int
	mostWritten, mostRead int
}

func (f *flow) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &flowConn{nc, f}, nil
}

// most returns the largest amounts since the last call.
func (f *flow) most() (written, read int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	written, read = f.mostWritten, f.mostRead
	f.written, f.read, f.mostWritten, f.mostRead = 0, 0, 0, 0
	return written, read
}

type flowConn struct {
	net.Conn
	flow *flow
}

func (c *flowConn) Write(b []byte) (int, error) {
	f := c.flow
	f.mu.Lock()
	f.read = 0
	f.written += len(b)
	f.mostWritten = max(f.mostWritten, f.written)
	f.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *flowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	f := c.flow
	f.mu.Lock()
	f.written = 0
	f.read += n
	f.mostRead = max(f.mostRead, f.read)
	f.mu.Unlock()
	return n, err
}

// A batch is written and read in parts: of at most 8 MiB and one value, and of at most 500 writes
// or 1,000 reads.
func TestC7_BatchesHaveBudgets(t *testing.T) {
	for _, shape := range []struct{ keys, size int }{{40, 1 << 20}, {100_000, 10}} {
		t.Run(fmt.Sprintf("%d of %d bytes", shape.keys, shape.size), func(t *testing.T) {
			rig.Need(t, rig.TierAll)
			ctx, f := t.Context(), &flow{}
			client := dialWith(t, redstart.Config{URL: rig.Standalone(t).URL(), Namespace: "app",
				CommandTimeout: 30 * time.Second, Dialer: f.dial})
			c, err := cache.New[[]byte](client, "bytes", cache.Options{Codec: codec.Raw, CompressAbove: cache.NoCompression})
			if err != nil {
				t.Fatal(err)
			}
			keys, values := make([]string, shape.keys), make(map[string][]byte, shape.keys)
			for i := range keys {
				keys[i] = fmt.Sprint("k", i)
				values[keys[i]] = make([]byte, shape.size)
			}
			most := min(cache.PartBytes, shape.keys*shape.size*20) // a short value has a header and a name
			most += shape.size + most/4
			step := func(what string, do func() error) {
				t.Helper()
				f.most()
				if err := do(); err != nil {
					t.Fatal(what, err)
				}
				written, read := f.most()
				t.Logf("%s: at most %d KiB written and %d KiB read in a row", what, written>>10, read>>10)
				if written > most || read > most {
					t.Errorf("%s: %d bytes written and %d read in a row, want at most %d", what, written, read, most)
				}
				if shape.size < 100 && (written > 1000<<10 || read > 1000<<10) {
					t.Errorf("%s: %d bytes written and %d read in a row are more than 1,000 keys take, each with its script",
						what,
						written, read)
				}
			}
			all := func(got map[string][]byte, err error) error {
				if err == nil && len(got) != len(keys) {
					err = fmt.Errorf("%d values", len(got))
				}
				return err
			}
			if _, err := c.Get(ctx, "warm"); err == nil {
				t.Fatal("a value that was never stored")
			}
			step("SetMany", func() error { return c.SetMany(ctx, values) })
			if _, err := c.GetMany(ctx, keys[:1]); err != nil { // after this the cache knows the size of the values
				t.Fatal(err)
			}
			step("GetMany", func() error { return all(c.GetMany(ctx, keys)) })
			step("Delete", func() error { return c.Delete(ctx, keys...) })
			step("GetOrLoadMany", func() error {
				return all(c.GetOrLoadMany(ctx, keys,
					func(context.Context, []string) (map[string][]byte, error) { return values, nil }))
			})
		})
	}
}
