package console_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
)

// stream is an open live page.
type stream struct {
	*http.Response
	status int
	pages  chan string   // contents
	ended  chan struct{} // closed when the server ends the stream
	again  atomic.Bool   // the server has requested a new stream
	leave  func()
}

// watch opens the stream of a page with the query of its arguments.
func (s *site) watch(path, query string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	target := s.url + "/live?" + url.Values{"page": {path}, "query": {query}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	out := &stream{Response: res, status: res.StatusCode, pages: make(chan string, 100), ended: make(chan struct{})}
	go func() {
		defer close(out.ended)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if lines.Text() == "event: again" {
				out.again.Store(true)
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var page string
				if json.Unmarshal([]byte(data), &page) == nil {
					select {
					case out.pages <- page:
					default:
					}
				}
			}
		}
	}()
	out.leave = func() { cancel(); <-out.ended }
	s.t.Cleanup(out.leave)
	return out
}

// until waits for a content.
func (s *stream) until(t testing.TB, what string, ok func(page string) bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case page := <-s.pages:
			if ok(page) {
				return
			}
		case <-s.ended:
			t.Fatalf("the stream ended before: %s", what)
		case <-timeout:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestStreamShowsChanges(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	s := serve(t, client, console.Options{})
	page := s.watch("/locks", "")
	page.until(t, "the page without a lock", func(page string) bool { return strings.Contains(page, "No lock is held") })
	held := hold(t, client, "invoice")
	page.until(t, "the lock", func(page string) bool { return strings.Contains(page, "invoice") })
	must(0, held.Release(t.Context()))(t)
	page.until(t, "the page without the lock", func(page string) bool { return strings.Contains(page, "No lock is held") })
}

// The page of a lock shows its queue live: a waiter comes, and then holds the lock.
func TestStreamShowsTheQueueOfALock(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	s := serve(t, client, console.Options{})
	held := hold(t, client, "invoice")
	page := s.watch("/locks", "name=invoice")
	page.until(t, "the lock without a queue", func(page string) bool {
		return strings.Contains(page, "holder-1") && strings.Contains(page, "No process waits.")
	})
	queue(t, client, "invoice")
	page.until(t, "the waiter", func(page string) bool {
		return strings.Contains(page, "waiter-1") && strings.Contains(page, "waits ")
	})
	must(0, held.Release(t.Context()))(t)
	page.until(t, "the end of the queue", func(page string) bool { return strings.Contains(page, "No process waits.") })
}

// Viewers of equal pages share one reading. Viewers of another page or with another role do not.
func TestViewersOfOnePageShareItsReading(t *testing.T) {
	t.Parallel()
	var role atomic.Uint32
	role.Store(uint32(console.Operator))
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{
		Authorize: func(*http.Request) (console.Role, error) { return console.Role(role.Load()), nil },
		Actor:     func(*http.Request) string { return rand.Text() },
	})
	var rendered atomic.Int64
	joined := make(chan struct{})
	release := sync.OnceFunc(func() { close(joined) })
	defer release()
	s.con.SetLive(time.Minute, time.Minute, func(string) { rendered.Add(1); <-joined })
	began := time.Now()
	var streams []*stream
	for i := range 20 {
		streams = append(streams, s.watch("/locks", "unknown="+fmt.Sprint(i))) // arguments that the page does not use
	}
	role.Store(uint32(console.Viewer))
	streams = append(streams, s.watch("/locks", ""))
	release()
	for _, page := range streams {
		page.until(t, "the content", func(string) bool { return true })
	}
	n := rendered.Load()
	if streams, topics, _ := s.con.Live(); streams != 21 || topics != 2 {
		t.Errorf("21 viewers have %d streams with %d topics, want 2", streams, topics)
	}
	// Each viewer that joins wakes the poller, and a topic is read at most once per second.
	if limit := 2 * (1 + int64(time.Since(began)/(console.Interval/2))); n > limit {
		t.Errorf("21 viewers of 2 pages caused %d readings, at most %d are due", n, limit)
	}
}

func TestStreamsHaveABudget(t *testing.T) {
	t.Parallel()
	var persons atomic.Int64
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{
		Actor: func(*http.Request) string { return fmt.Sprint("person-", persons.Add(1)/10) },
	})
	var open []*stream
	for i := range console.MaxTopics {
		open = append(open, s.watch("/locks", "name="+fmt.Sprint(i)))
	}
	if got := s.watch("/locks", "name=more"); got.status != http.StatusServiceUnavailable {
		t.Errorf("topic %d has status %d", console.MaxTopics+1, got.status)
	}
	for len(open) < console.MaxStreams {
		open = append(open, s.watch("/locks", "name=0"))
	}
	if got := s.watch("/locks", "name=0"); got.status != http.StatusServiceUnavailable {
		t.Errorf("stream %d has status %d", console.MaxStreams+1, got.status)
	}
	for _, one := range open {
		if one.status != http.StatusOK {
			t.Fatalf("a stream within the budget has status %d", one.status)
		}
	}
	s.get("/locks").expect(t, "a page beyond the budget of streams", "Locks in use")

	open[0].leave()
	rig.Eventually(t, 10*time.Second, "the stream has left", func() bool {
		n, _, _ := s.con.Live()
		return n == console.MaxStreams-1
	})
	if got := s.watch("/locks", "name=1"); got.status != http.StatusOK {
		t.Errorf("after a viewer left, a new one has status %d", got.status)
	}
}

// One person can't take the streams of all others. Without Options.Actor, a person is an address,
// not a connection.
func TestStreamsOfOnePersonHaveABudget(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	var person atomic.Value
	person.Store("ada")
	named := serve(t, client, console.Options{Actor: func(*http.Request) string { return person.Load().(string) }})
	unnamed := serve(t, client, console.Options{})
	for name, s := range map[string]*site{"by Actor": named, "by address": unnamed} {
		var open []*stream
		for i := range console.MaxPersonal {
			open = append(open, s.watch("/locks", "name="+fmt.Sprint(i%3)))
		}
		for _, one := range open {
			if one.status != http.StatusOK {
				t.Fatalf("%s: a stream within the budget has status %d", name, one.status)
			}
		}
		if got := s.watch("/locks", ""); got.status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: stream %d of a person has status %d", name, console.MaxPersonal+1, got.status)
		}
		open[0].leave()
		rig.Eventually(t, 10*time.Second, "the stream has left", func() bool {
			n, _, _ := s.con.Live()
			return n == console.MaxPersonal-1
		})
		if got := s.watch("/locks", ""); got.status != http.StatusOK {
			t.Errorf("%s: after a stream of the person ended, a new one has status %d", name, got.status)
		}
	}
	person.Store("grace")
	if got := named.watch("/locks", ""); got.status != http.StatusOK {
		t.Errorf("a stream of another person has status %d", got.status)
	}
}

// A stream does not read a value or the data of an event again: only the page that was requested
// shows it.
func TestStreamsHaveNoValues(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	fill(t, client, "users", "ada")
	s := serve(t, client, console.Options{Mask: console.MaskNone})
	arguments := query("cache", "users", "key", "ada", "value", "show")
	s.get("/caches"+arguments).expect(t, "page", "value &lt;script")
	s.watch("/caches", strings.TrimPrefix(arguments, "?")).until(t, "the content", func(page string) bool {
		if !strings.Contains(page, "Hit: a read serves") || strings.Contains(page, "value &lt;script") {
			t.Errorf("the stream has the value, or no explanation:\n%s", page)
		}
		return true
	})
}

// Without visitors, no goroutine of the console runs. A visit starts the poller again.
func TestPollerEndsWithoutVisitors(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	s.con.SetLive(time.Minute, time.Nanosecond, func(string) {})
	if _, _, polling := s.con.Live(); polling {
		t.Error("the poller runs before the first visit")
	}
	for range 2 {
		page := s.watch("/", "")
		page.until(t, "the content", func(string) bool { return true })
		if _, _, polling := s.con.Live(); !polling {
			t.Error("the poller does not run for a viewer")
		}
		page.leave()
		rig.Eventually(t, 10*time.Second, "the poller has ended", func() bool {
			streams, topics, polling := s.con.Live()
			return streams == 0 && topics == 0 && !polling
		})
	}
}

// A stream ends after its life. The browser connects again, and a role that was withdrawn ends.
func TestAWithdrawnRoleEndsItsStream(t *testing.T) {
	t.Parallel()
	var role atomic.Uint32
	role.Store(uint32(console.Viewer))
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{
		Authorize: func(*http.Request) (console.Role, error) { return console.Role(role.Load()), nil },
	})
	s.con.SetLive(10*time.Millisecond, time.Minute, func(string) {})
	page := s.watch("/", "")
	role.Store(uint32(console.NoRole))
	select {
	case <-page.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream continues after its life")
	}
	if !page.again.Load() {
		t.Error("the browser takes the end of the stream for a lost connection")
	}
	if again := s.watch("/", ""); again.status != http.StatusForbidden {
		t.Errorf("the browser connects again with status %d", again.status)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	page := s.watch("/", "")
	page.until(t, "the content", func(string) bool { return true })
	must(0, s.con.Close())(t)
	select {
	case <-page.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream continues after Close")
	}
	if page.again.Load() {
		t.Error("after Close the stream requests a new one")
	}
	if got := s.get("/"); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a page after Close has status %d", got.StatusCode)
	}
	if _, _, polling := s.con.Live(); polling {
		t.Error("the poller runs after Close")
	}
	must(0, s.con.Close())(t)
}

// The last states and the plots of many pages stay within their budgets.
func TestKeptStatesHaveABudget(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	s := serve(t, client, console.Options{})
	for i := range console.MaxKept + 20 {
		s.get("/locks" + query("name", fmt.Sprint(i)))
	}
	if n := s.con.Kept(); n != console.MaxKept {
		t.Errorf("%d states are kept, want %d", n, console.MaxKept)
	}
	for i := range console.MaxLags + 3 {
		die(t, client, fmt.Sprint("bus-", i/8), fmt.Sprint("group-", i))
	}
	for i := range console.MaxLags/8 + 1 {
		s.get("/events" + query("bus", fmt.Sprint("bus-", i)))
	}
	if n := s.con.Lags(); n != console.MaxLags {
		t.Errorf("%d groups have a plot, want %d", n, console.MaxLags)
	}
}
