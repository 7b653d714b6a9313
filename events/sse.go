package events

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// SSEOptions configure [Durable.SSE]. The zero value is a good default.
type SSEOptions struct {
	// Heartbeat is the time between heartbeats. A heartbeat is a comment, and the position if it
	// has moved. It detects dead connections, and lets the client of a quiet channel resume.
	// Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long one write may take. A client that does not read is disconnected
	// then. Default 10 s.
	WriteTimeout time.Duration
	// History is how many stored events of the partition are examined for a client that resumes. A
	// client that was away for longer receives the event "stale". Default 10,000.
	History int
}

// SSEHandler is an http.Handler that serves Server-Sent Events. Use [Durable.SSE].
type SSEHandler struct {
	d       *Durable
	channel func(r *http.Request) (string, error)
	opt     SSEOptions
	closed  chan struct{}
	closing sync.Once
}

// SSE returns a handler that streams the events of a channel to browsers as Server-Sent Events
// (HTML Living Standard, 9.2). The function channel returns the channel for a request, for example
// the channel of the signed-in user. Its error is answered with 403 and is not shown.
//
// Each event has the type of the event as "event", its Position as "id", and its data as "data".
//
// A client starts after the position in its header Last-Event-ID. Browsers send it when they
// reconnect. Without the header, it starts after the position in the query parameter "position". A
// page can take that position from a [Receipt]. Without both, the client starts now, and receives
// the position of now before the first event.
//
// Missed events are read from the log, as far as the log goes back: give the bus a Retention. If
// the log does not go back to the position, the client receives the event "stale" and should load
// its data again. A slow client receives every event in order, or "stale". While the server does
// not answer, a stream waits.
//
// A stream ends with the context of the request, with the client of redstart, with the bus, with
// SSEHandler.Close, and when a write takes longer than WriteTimeout. http.Server.Shutdown waits for
// streams, so register Close: server.RegisterOnShutdown(handler.Close).
//
// One reader per partition serves all streams of a process. It holds up to History index entries
// and 1 MiB of events, or 4 MiB of events while clients resume. An event that many clients miss is
// read once. An idle stream holds no event. A stream with a slow client holds up to 256 KiB of
// events, or one larger event. It shares them with the streams of the same channel. No group is
// needed.
func (d *Durable) SSE(channel func(r *http.Request) (string, error), opts SSEOptions) (*SSEHandler, error) {
	switch {
	case channel == nil:
		return nil, errors.New("events: SSE: the channel function is nil: want a function that returns the channel of a request")
	case opts.Heartbeat < 0, opts.WriteTimeout < 0, opts.History < 0:
		return nil, errors.New("events: SSEOptions: Heartbeat, WriteTimeout or History is negative: want 0 (default) or a positive value")
	}
	opts.Heartbeat = orDefault(opts.Heartbeat, 15*time.Second)
	opts.WriteTimeout = orDefault(opts.WriteTimeout, 10*time.Second)
	opts.History = orDefault(opts.History, 10_000)
	return &SSEHandler{d: d, channel: channel, opt: opts, closed: make(chan struct{})}, nil
}

// Close ends all streams of the handler. Browsers reconnect, possibly to another process. Requests
// after Close receive status 503.
func (s *SSEHandler) Close() { s.closing.Do(func() { close(s.closed) }) }

// ServeHTTP serves one stream. [Durable.SSE] says when the stream ends.
func (s *SSEHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	select {
	case <-s.closed:
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	default:
	}
	if s.d.life.enter("SSE stream") != nil {
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	}
	defer s.d.life.leave("SSE stream")

	name, err := s.channel(r)
	if err != nil {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}

	v := &viewer{channel: name, wake: make(chan struct{}, 1)}
	t, from, err := s.d.follow(r.Context(), v, s.opt.History)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, fault.ErrUnavailable) {
			status = http.StatusServiceUnavailable
		}
		http.Error(w, http.StatusText(status), status)
		return
	}
	defer t.leave(v)

	position := r.Header.Get("Last-Event-ID")
	if position == "" {
		position = r.URL.Query().Get("position")
	}
	one := &stream{SSEHandler: s, t: t, v: v, at: from, w: w, control: http.NewResponseController(w)}
	one.serve(r.Context(), position)
}
