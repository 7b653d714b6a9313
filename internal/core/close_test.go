package core_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/rig"
)

type deaf struct{}

func (deaf) Invalidate(string) {}
func (deaf) Flush()            {}

// busy uses every kind of connection until stop is called.
func busy(t *testing.T, c *core.Core) (stop func()) {
	t.Helper()
	space, err := c.Keys("test", "busy")
	if err != nil {
		t.Fatal(err)
	}
	c.Hub().Track(space.Prefix(), deaf{})
	if _, err := c.Hub().Subscribe(t.Context(), space.Key("channel"), hub.Receiver{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = c.Do(ctx, c.B().Get().Key(space.Key("a")).Build()) // it fails once the client is closed
				_, _ = c.DoTracked(ctx, c.B().Get().Key(space.Key("b")).Build())
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func TestA7_CloseMidTraffic(t *testing.T) {
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, url)
			stop := busy(t, c)
			defer stop()
			began := time.Now()
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("Close took %v", took)
			}
		})
	}
}

func TestA7_CloseOnAStoppedServer(t *testing.T) {
	s := rig.Standalone(t)
	c := open(t, s.URL())
	stop := busy(t, c)
	defer stop()
	s.Stop()
	began := time.Now()
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	s.Continue()
}

func TestA7_CloseNamesWhoIgnoresItsContext(t *testing.T) {
	e := rig.Standalone(t)
	release := make(chan struct{})
	c := open(t, e.URL())
	c.Group().Go("handler of orders", func(context.Context) { <-release })
	began := time.Now()
	err := c.Close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	close(release)
	if err == nil || !strings.Contains(err.Error(), "handler of orders") {
		t.Errorf("Close: %v", err)
	}
	if again := c.Close(); again != err {
		t.Errorf("the second Close: %v", again)
	}
}
