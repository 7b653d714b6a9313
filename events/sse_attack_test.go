package events_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A page can send any text as its position. A text that is not a position, or a position that the
// log has not reached, is stale. A position of another channel of the partition is valid. A stream
// never sends a text that is longer than a position.
func TestSSEForgedPositions(t *testing.T) {
	t.Parallel()
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{Heartbeat: 20 * time.Millisecond})
	must(t, err)
	web := httptest.NewServer(handler)
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var start, other, last events.Receipt
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 0}, events.Into(&start)))
	must(t, notes.Publish(t.Context(), bus, "other", note{}, events.Into(&other)))
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}, events.Into(&last)))

	zeros := strings.Repeat("0", 900<<10)
	for name, position := range map[string]string{
		"longest": "18446744073709551615-18446744073709551615", "too large": "18446744073709551616-0",
		"negative": "-1-1", "signs": "+1-+1", "a minus": "5--1",
		"zeros": zeros + start.Position, "text": strings.Repeat("x", 900<<10),
		"lines": "1-1\nevent: note\ndata: 1", "digits of another script": "١-١",
	} {
		for _, query := range []bool{false, true} {
			lines := forge(t, ctx, web.Listener.Addr().String(), position, query)
			if got := firstEvent(t, lines); got != "stale" {
				t.Errorf("%s (query %v): the first event is %q, want stale", name, query, got)
			}
		}
	}
	for name, position := range map[string]string{"of another channel": other.Position, "with zeros": "00" + start.Position} {
		if got := firstEvent(t, forge(t, ctx, web.Listener.Addr().String(), position, false)); got != "note" {
			t.Errorf("%s: the first event is %q, want the one that was missed", name, got)
		}
	}
}

// forge sends a hand-written request and returns the lines of the stream.
func forge(t *testing.T, ctx context.Context, addr, position string, query bool) *bufio.Scanner {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second))) // a stream that sends nothing ends the test
	context.AfterFunc(ctx, func() { conn.Close() })
	t.Cleanup(func() { conn.Close() })
	target, header := "/", ""
	if query {
		target = "/?position=" + url.QueryEscape(position)
	} else {
		header = "Last-Event-ID: " + strings.ReplaceAll(position, "\n", " ") + "\r\n"
	}
	go fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target, header)
	r := bufio.NewReader(conn)
	status, err := textproto.NewReader(r).ReadLine()
	if err != nil || !strings.Contains(status, "200") {
		t.Fatalf("status %q, %v", status, err)
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	return lines
}

// firstEvent returns the type of the first event, after at least one heartbeat.
func firstEvent(t *testing.T, lines *bufio.Scanner) (event string) {
	t.Helper()
	for lines.Scan() {
		line := lines.Text()
		if id, ok := strings.CutPrefix(line, "id: "); ok && len(id) > 41 {
			t.Fatalf("the stream sent a position of %d bytes", len(id))
		}
		if name, ok := strings.CutPrefix(line, "event: "); ok && event == "" {
			event = name
		}
		if event != "" && line == ":" {
			return event
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
	return ""
}

// A page sends many requests with the same old position. The log is read once, not once per
// request. The control is the first request.
func TestSSERepeatedOldPositionReadsTheLogOnce(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	bus := durable(t, open(t, server.URL(), "app"), events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{})
	must(t, err)
	var batch events.Batch
	for n := range 3000 {
		notes.AddToBatch(&batch, "other", note{N: n, Text: strings.Repeat("x", 200)})
	}
	must(t, bus.PublishBatch(t.Context(), &batch))
	scripts := func() int64 {
		all := server.CommandStats()
		return all["evalsha"] + all["eval"] + all["evalsha_ro"] + all["eval_ro"]
	}
	request := func() int64 {
		before := scripts()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &idleWriter{header: http.Header{}, here: new(atomic.Int64), events: new(atomic.Int64), stale: new(atomic.Int64)}
		served := make(chan struct{})
		go func() {
			defer close(served)
			handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/?position=0-1", nil))
		}()
		rig.Eventually(t, 20*time.Second, "the request is answered", func() bool { return w.stale.Load() > 0 })
		cancel()
		<-served
		return scripts() - before
	}
	first := request()
	var more int64
	for range 20 {
		more += request()
	}
	t.Logf("the first request cost %d scripts, 20 more cost %d", first, more)
	if more > 2*20+first {
		t.Errorf("20 more requests cost %d scripts, want at most 2 each: the first cost %d", more, first)
	}
}

// Another program may write JSON with line ends between its tokens. Each line end, also a single
// CR, would end a line of the stream. The client receives the data as one line.
func TestSSEDataWithLineEnds(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	bus := durable(t, open(t, server.URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, Retention: time.Hour})
	handler, err := bus.SSE(everybody, events.SSEOptions{Heartbeat: 20 * time.Millisecond})
	must(t, err)
	web := httptest.NewServer(handler)
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := forge(t, ctx, web.Listener.Addr().String(), "0-0", true)
	for i, end := range []string{"\n", "\r\n", "\r"} {
		text := events.EnvelopeText(fmt.Sprint(i), "note", "a", `{"n":1,`+end+`"text":`+end+`"a b"`+end+`}`)
		_, err := server.Do("XADD", bus.StreamOf("a"), "*", "c", "a", "e1", text)
		must(t, err)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "data: ") {
		}
		if got := lines.Text(); got != `data: {"n":1,"text":"a b"}` {
			t.Errorf("line ends %q: the stream has %q", end, got)
		}
	}
}
