package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The budgets of the streams: of the process, and of one person. A stream ends after streamLife, so
// that the role of its viewer is read again when the browser reconnects.
const (
	maxStreams   = 64
	maxPersonal  = 16
	maxTopics    = 32
	streamLife   = 5 * time.Minute
	writeTimeout = 10 * time.Second
	heartbeat    = 15 * time.Second
	longLinger   = 5 * time.Minute
)

// topic is what a stream shows: one page with its arguments, for one role.
type topic struct {
	role  Role
	path  string // after the prefix
	query string // the known arguments of the page, encoded
}

// live has the streams of all viewers, and one poller that renders each topic once for all of its
// viewers. Without a stream the poller only samples the metrics of this process. It ends after
// linger without a visit.
type live struct {
	render func(ctx context.Context, t topic) []byte // the content of a page; nil if there is none
	sample func(now time.Time)
	start  func(poll func(ctx context.Context)) bool // runs the poller; false after Close
	life   time.Duration                             // of a stream
	write  time.Duration                             // for one event, and for a page
	linger time.Duration                             // of the poller after the last visit

	mu      sync.Mutex
	feeds   map[topic]*feed
	streams int
	persons map[string]int // streams by person
	visited time.Time
	polling bool
	wake    chan struct{}
}

// feed has the viewers of one topic.
type feed struct {
	viewers map[chan []byte]struct{} // each holds the newest content that is not sent yet
	last    []byte
	due     time.Time // when the topic is rendered next
}

// rest is how much longer the pause after a rendering is than the rendering. So a page that is
// expensive for the server takes at most a tenth of the server's time.
const rest = 10

func newLive() *live {
	return &live{
		life: streamLife, write: writeTimeout, linger: longLinger,
		feeds: make(map[topic]*feed), persons: make(map[string]int), wake: make(chan struct{}, 1),
	}
}

// visit starts the poller or lets it continue.
func (l *live) visit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visited = time.Now()
	if !l.polling {
		l.polling = l.start(l.poll)
	}
}

// join adds a viewer. It reports false if there are too many.
func (l *live) join(t topic, person string) (chan []byte, bool) {
	l.visit()
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.feeds[t]
	if l.streams >= maxStreams || l.persons[person] >= maxPersonal || f == nil && len(l.feeds) >= maxTopics {
		return nil, false
	}
	if f == nil {
		f = &feed{viewers: make(map[chan []byte]struct{})}
		l.feeds[t] = f
	}
	l.streams++
	l.persons[person]++
	ch := make(chan []byte, 1)
	if f.last != nil {
		ch <- f.last
	}
	f.viewers[ch] = struct{}{}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return ch, true
}

func (l *live) leave(t topic, person string, ch chan []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.feeds[t]
	delete(f.viewers, ch)
	l.streams--
	if l.persons[person]--; l.persons[person] == 0 {
		delete(l.persons, person)
	}
	l.visited = time.Now()
	if len(f.viewers) == 0 {
		delete(l.feeds, t)
	}
}

// poll runs until ctx ends or the console has had no viewer for linger.
func (l *live) poll(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		l.sample(time.Now())
		for _, t := range l.due(time.Now()) {
			began := time.Now()
			if content := l.render(ctx, t); ctx.Err() == nil {
				l.send(t, content, began)
			}
		}
		if l.unwatched() {
			return
		}
		select {
		case <-ctx.Done():
			l.stopped()
			return
		case <-l.wake:
		case <-ticker.C:
		}
	}
}

// due returns the topics to render now.
func (l *live) due(now time.Time) []topic {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]topic, 0, len(l.feeds))
	for t, f := range l.feeds {
		if !now.Before(f.due) {
			all = append(all, t)
		}
	}
	return all
}

// unwatched reports that the poller ends.
func (l *live) unwatched() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams > 0 || time.Since(l.visited) < l.linger {
		return false
	}
	l.polling = false
	return true
}

func (l *live) stopped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polling = false
}

// send gives a content to the viewers of a topic if it has changed. A slow viewer gets only the
// newest content. A nil content is a page that could not be rendered.
func (l *live) send(t topic, content []byte, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.feeds[t]
	if f == nil {
		return
	}
	took := time.Since(began)
	f.due = began.Add(max(interval/2, rest*took))
	if content == nil || bytes.Equal(f.last, content) {
		return
	}
	f.last = content
	for ch := range f.viewers {
		select {
		case <-ch:
		default:
		}
		ch <- content
	}
}

// stream serves one viewer as Server-Sent Events. Each event has the content of the page as a JSON
// string.
func (l *live) stream(w http.ResponseWriter, r *http.Request, t topic, person string, closed <-chan struct{}) {
	ch, ok := l.join(t, person)
	if !ok {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many open pages of this console: close some", http.StatusServiceUnavailable)
		return
	}
	defer l.leave(t, person, ch)

	out := http.NewResponseController(w)
	write := func(format string, args ...any) bool {
		// A ResponseWriter without deadlines keeps the deadline of its server.
		_ = out.SetWriteDeadline(time.Now().Add(l.write))
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if !write("retry: 3000\n\n") {
		return
	}

	life := time.NewTimer(l.life)
	defer life.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-closed:
			return
		case <-life.C:
			write("event: again\ndata:\n\n") // the browser connects again without an error
			return
		case <-beat.C:
			if !write(":\n\n") {
				return
			}
		case content := <-ch:
			data, err := json.Marshal(string(content))
			if err != nil || !write("event: page\ndata: %s\n\n", data) {
				return
			}
		}
	}
}
