package core_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/wire"
)

// Long values are written by reference, between short commands. During stalls that fill the socket,
// writes end in the middle of a value, and calls are abandoned before they are written. Each value
// on the server is whole, and none is older than the last Set that succeeded.
func TestA3_LongValuesArriveWholeAndInOrder(t *testing.T) {
	t.Parallel()
	const writers, rounds, stall = 16, 3, 300 * time.Millisecond
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	c := open(t, proxy.URL(), timeout(10*time.Second))
	sizes := []int{8, wire.LongWord - 8, wire.LongWord, 100 << 10, 1 << 20}
	value := func(number int) string {
		size := sizes[number%len(sizes)]
		return strings.Repeat(fmt.Sprintf("%08d", number), size/8)
	}
	set := func(ctx context.Context, key string, number int) error {
		_, err := c.Do(ctx, core.Write("SET", key, value(number)))
		return err
	}

	var succeeded, abandoned [writers]int
	for range rounds {
		proxy.StallRequests()
		time.AfterFunc(stall, proxy.Resume)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				key := fmt.Sprint("k", w)
				next := max(succeeded[w], abandoned[w]) + 1
				for number := next; number < next+20; number++ {
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if number%3 == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(number%50)*time.Millisecond)
					}
					err := set(ctx, key, number)
					cancel()
					if err == nil {
						succeeded[w] = number
					} else {
						abandoned[w] = number
					}
				}
			})
		}
		wg.Wait()
	}

	lost := 0
	for w := range writers {
		reply, err := c.Do(t.Context(), core.Read("GET", fmt.Sprint("k", w)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := reply.ToString()
		var number int
		if _, scanned := fmt.Sscanf(got, "%08d", &number); err != nil || scanned != nil || got != value(number) {
			t.Fatalf("writer %d: %d bytes, which are no value: %v", w, len(got), err)
		}
		if number < succeeded[w] {
			t.Errorf("writer %d: the value comes from Set %d, and %d succeeded", w, number, succeeded[w])
		}
		if abandoned[w] > 0 {
			lost++
		}
	}
	if lost == 0 {
		t.Error("no call was abandoned: this shows nothing")
	}
	if n := proxy.Accepted(); n > 3 { // main, and large ones for the reads
		t.Errorf("%d connections: a write has broken one", n)
	}
}
