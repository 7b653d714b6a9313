package events

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// SSEOptions configure Durable.SSE. The zero value is a good default.
type SSEOptions struct {
	// Heartbeat is how often something is sent when there is no event: a comment, and the position if it has moved, so that a dead
	// connection is noticed and a quiet channel's client can resume. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long one write may take; a client that does not read is disconnected. Default 10 s.
	WriteTimeout time.Duration
	// History is how many stored events of the channel's partition are looked at for a client that resumes. One that
	// was away for longer gets an event "stale". Default 10,000.
	History int
}

// SSEHandler serves Server-Sent Events; make it with [Durable.SSE].
type SSEHandler struct {
	d       *Durable
	channel func(r *http.Request) (string, error)
	opt     SSEOptions
	closed  chan struct{}
	closing sync.Once
}

// SSE streams a channel's events to browsers as Server-Sent Events (HTML Living Standard, 9.2). The channel is what the
// given function says about a request, such as the signed-in user's own; its error is answered with 403 and not shown.
//
// Each event has the event's type as "event", its Position as "id" and its data as "data". A client starts after the position in
// its Last-Event-ID header, which browsers send when they reconnect, or else in the query parameter "position": a page puts
// there the Position of a [Receipt] or the one that its data was read at. Without either it starts now, and gets the position of now
// before the first event, so that it can resume from there.
//
// What a client missed comes out of the log, as far as the log goes: give the bus a Retention. When it can't be known what was
// missed, the client gets an event "stale" and should load its data again. A client that reads slowly gets every event late or "stale",
// never a later event in the place of an earlier one. While the server does not answer, a stream waits.
//
// A stream ends with the request's context (cancel it to revoke), with the client of redstart, with Close, and when a write takes
// longer than WriteTimeout. http.Server.Shutdown waits for streams: server.RegisterOnShutdown(streams.Close).
//
// One reader per partition serves all streams of a process. It holds up to History small index entries and 1 MiB of events
// while there are streams, 4 MiB while clients resume. An event that many clients miss is read once. A stream that waits holds nothing; one
// whose client is slow holds up to 256 KiB of events, or one larger event, which it shares with the streams of the same channel. No group needs to be registered for it.
func (d *Durable) SSE(channel func(r *http.Request) (string, error), opts SSEOptions) (*SSEHandler, error) {
	switch {
	case channel == nil:
		return nil, errors.New("events: SSE: the channel function is nil")
	case opts.Heartbeat < 0, opts.WriteTimeout < 0, opts.History < 0:
		return nil, errors.New("events: SSEOptions: Heartbeat, WriteTimeout and History are not negative")
	}
	opts.Heartbeat = orDefault(opts.Heartbeat, 15*time.Second)
	opts.WriteTimeout = orDefault(opts.WriteTimeout, 10*time.Second)
	opts.History = orDefault(opts.History, 10_000)
	return &SSEHandler{d: d, channel: channel, opt: opts, closed: make(chan struct{})}, nil
}

// Close ends all streams of this handler; browsers reconnect, to another process if there is one. Requests after Close get 503.
func (s *SSEHandler) Close() { s.closing.Do(func() { close(s.closed) }) }

// ServeHTTP streams until one of the ends that [Durable.SSE] names.
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
