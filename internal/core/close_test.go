package core_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
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
				// fails after the client has closed
				_, _ = c.Do(ctx, core.Read("GET", space.Key("a")))
				_, _ = c.DoTracked(ctx, core.Read("GET", space.Key("b")))
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
			watch := rig.Watch(t)
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if took := watch.Took(); took > 5*time.Second {
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
	watch := rig.Watch(t)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took := watch.Took(); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	s.Continue()
}

func TestA7_CloseNamesWhoIgnoresItsContext(t *testing.T) {
	e := rig.Standalone(t)
	release := make(chan struct{})
	c := open(t, e.URL())
	c.Group().Go("handler of orders", func(context.Context) { <-release })
	watch := rig.Watch(t)
	err := c.Close()
	if took := watch.Took(); took > 5*time.Second {
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

func TestA7_CloseTwiceAtOnce(t *testing.T) {
	c := open(t, rig.Shared(t).URL())
	release := make(chan struct{})
	c.OnClose(func(context.Context) error { <-release; return errors.New("what it held is lost") })
	results := make(chan error, 2)
	for range cap(results) {
		go func() { results <- c.Close() }()
	}
	c.Metrics(func(observe.Metric) bool { return true }) // must not delay Close
	close(release)
	a, b := <-results, <-results
	if a == nil || a != b || !strings.Contains(a.Error(), "what it held is lost") {
		t.Errorf("Close returned %v and %v", a, b)
	}
}

func TestCallsAfterClose(t *testing.T) {
	for name, url := range map[string]string{"standalone": rig.Shared(t).URL(), "cluster": rig.SharedCluster(t).URL()} {
		for _, when := range []struct {
			name string
			edit func(*core.Options)
		}{{"connected", func(*core.Options) {}}, {"lazy", lazy}} {
			c := open(t, url, when.edit)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			ctx, s := t.Context(), script.New("return 1")
			_, err := c.Do(ctx, core.Write("SET", "k", "x"))
			_, tracked := c.DoTracked(ctx, core.Read("GET", "k"))
			_, several := c.DoMulti(ctx, core.Write("SET", "k", "x"), core.Write("SET", "l", "x"))[1].Get()
			_, eval := c.Eval(ctx, s, []string{"k"}, nil)
			_, evals := c.EvalMulti(ctx, s, []core.Call{{Keys: []string{"k"}}})[0].Get()
			_, blocking := c.Blocking(ctx)
			publish := c.Publish(ctx, "ch", "m")
			_, subscribe := c.Hub().Subscribe(ctx, "ch", hub.Receiver{})
			for what, err := range map[string]error{"Do": err, "DoTracked": tracked, "DoMulti": several,
				"Eval": eval, "EvalMulti": evals, "Publish": publish, "Subscribe": subscribe, "Blocking": blocking} {
				if what == "Blocking" && err == nil {
					continue // this one was opened before Close, and is closed
				}
				if !errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) ||
					!strings.Contains(err.Error(), "the client is closed") {
					t.Errorf("%s, %s: %s gave %v", name, when.name, what, err)
				}
			}
		}
	}
}

// The context of Open ends, or its client closes, while the server accepts connections and is
// silent, or does not accept them.
func TestA7_OpenEndsWithItsContext(t *testing.T) {
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	p.Stall()
	full := fullBacklog(t)
	for _, url := range []string{p.URL(), "redis+cluster://" + p.Addr(), "redis+sentinel://" + p.Addr() +
		"/mymaster", "redis://" + full, "redis+cluster://" + full} {
		t.Run(url[:strings.Index(url, ":")], func(t *testing.T) {
			e, err := endpoint.Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			watch := rig.Watch(t)
			_, err = core.Open(ctx, core.Options{Endpoint: e, Namespace: "x", ClientName: "redstart", PoolSize: 1,
				CommandTimeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
			if took := watch.Took(); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second ||
				strings.Contains(err.Error(), "still running") {
				t.Errorf("%s: after %v Open gave %v", url, took, err)
			}
		})
	}
}

// fullBacklog returns an address where connections are neither accepted nor refused.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	for range 16 {
		conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the backlog takes any number of connections")
	return ""
}

// waitedContext closes waited when a call begins to wait for its end.
type waitedContext struct {
	context.Context
	once   *sync.Once
	waited chan struct{}
}

func (c waitedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waited) })
	return c.Context.Done()
}

// The client for blocking reads is closed between the end of its opening and the next step of a
// caller that waited for it. The caller gets an error, and no nil client.
func TestABlockingClientThatIsClosedAsItOpens(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(time.Minute))
	if err := get(t.Context(), c, "k"); err != nil {
		t.Fatal(err)
	}
	end := core.OpenBlocking(c)
	ctx := waitedContext{t.Context(), new(sync.Once), make(chan struct{})}
	result := make(chan error, 1)
	go func() {
		_, err := c.Blocking(ctx)
		result <- err
	}()
	<-ctx.waited
	if err := end(); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, fault.ErrUnavailable) || !strings.Contains(err.Error(), "the client is closed") {
		t.Errorf("the caller got %v", err)
	}
}
