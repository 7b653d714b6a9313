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
	const values = "abcdefghij" // more than the kernel buffers for a connection
	for _, content := range []byte(values) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := c.Set(ctx, string(content), long(content)); err == nil {
			t.Error("a stopped server answered")
		}
		cancel()
	}
	await(t, "the replay", replays)
	server.Continue()

	rig.Eventually(t, 20*time.Second, "the connection has sent the values before", func() bool {
		return c.Set(t.Context(), "last", []byte("last")) == nil
	})
	other, err := cache.New[[]byte](dialWith(t, config), "bytes", cache.Options{Codec: codec.Raw})
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, content := range []byte(values) {
		v, err := other.Get(t.Context(), string(content))
		if err != nil {
			continue
		}
		stored++
		if own := bytes.Count(v, []byte{content}); own != len(v) {
			t.Errorf("%c: %d of %d bytes belong to the value", content, own, len(v))
		}
	}
	if stored == 0 {
		t.Error("no value is stored, and the test shows nothing")
	}
	t.Logf("%d of %d abandoned values are stored", stored, len(values))
}
