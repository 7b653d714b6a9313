package cache_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/rig"
)

// The server stops while long values are sent, and the calls end. When it continues, the connection
// sends the rest of each value. These bytes belong to the value, although other calls have
// encoded long values in the meantime.
func TestA3_AnAbandonedSetSendsItsOwnBytes(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	config := redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: 20 * time.Second}
	c, err := cache.New[[]byte](dialWith(t, config), "bytes", cache.Options{Codec: codec.Raw, CompressAbove: cache.NoCompression})
	if err != nil {
		t.Fatal(err)
	}
	long := func(content byte) []byte { return bytes.Repeat([]byte{content}, 1<<20) }
	if err := c.Set(t.Context(), "warm", long('w')); err != nil {
		t.Fatal(err)
	}
	replays, end := make(chan struct{}), make(chan struct{})
	rig.ArmOnce(t, c.Points(), "replay", "", func() { // which would delete the value
		close(replays)
		<-end
	})
	defer close(end)

	server.Stop()
	for _, content := range []byte("abcd") {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := c.Set(ctx, string(content), long(content)); err == nil {
			t.Error("a stopped server answered")
		}
		cancel()
	}
	await(t, "the replay", replays)
	server.Continue()

	other, err := cache.New[[]byte](dialWith(t, config), "bytes", cache.Options{Codec: codec.Raw})
	if err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 20*time.Second, "the first value is stored", func() bool {
		_, err := other.Get(t.Context(), "a")
		return err == nil
	})
	if v, err := other.Get(t.Context(), "a"); err != nil || !bytes.Equal(v, long('a')) {
		t.Errorf("%d bytes, %d of them its own, %v", len(v), bytes.Count(v, []byte("a")), err)
	}
}
