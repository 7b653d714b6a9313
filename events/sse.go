package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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

// Streams serves Server-Sent Events; make it with [Durable.SSE].
type Streams struct {
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
// while there are streams; a stream that waits holds nothing. No group needs to be registered for it.
func (d *Durable) SSE(channel func(r *http.Request) (string, error), opts SSEOptions) (*Streams, error) {
	switch {
	case channel == nil:
		return nil, errors.New("events: SSE: the channel function is nil")
	case opts.Heartbeat < 0, opts.WriteTimeout < 0, opts.History < 0:
		return nil, errors.New("events: SSEOptions: Heartbeat, WriteTimeout and History are not negative")
	}
	opts.Heartbeat = orDefault(opts.Heartbeat, 15*time.Second)
	opts.WriteTimeout = orDefault(opts.WriteTimeout, 10*time.Second)
	opts.History = orDefault(opts.History, 10_000)
	return &Streams{d: d, channel: channel, opt: opts, closed: make(chan struct{})}, nil
}

// Close ends all streams of this handler; browsers reconnect, to another process if there is one. Requests after Close get 503.
func (s *Streams) Close() { s.closing.Do(func() { close(s.closed) }) }

// ServeHTTP streams until one of the ends that [Durable.SSE] names.
func (s *Streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	one := &stream{Streams: s, t: t, v: v, at: from, w: w, control: http.NewResponseController(w)}
	one.serve(r.Context(), position)
}

// stream is one client's response.
type stream struct {
	*Streams
	t       *tail
	v       *viewer
	at      string // the client has everything up to here
	sent    string // the position that it knows
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

const streamRetry = 250 * time.Millisecond // after a read of the log that failed

func (s *stream) serve(ctx context.Context, position string) {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that buffer would hold events back
	s.w.WriteHeader(http.StatusOK)
	s.buf.WriteString(": here\n\n")
	unknown := position != "" && !isPosition(position)
	if position == "" {
		s.position()
	} else if !unknown {
		s.at = position
	}
	if s.flush() != nil {
		return
	}

	beat := time.NewTicker(s.opt.Heartbeat)
	defer beat.Stop()
	for due := false; ; {
		more, err := s.next(ctx, unknown)
		unknown = false
		if due { // after what has come: the position covers it
			due = false
			s.buf.WriteString(":\n")
			s.position()
			s.buf.WriteString("\n")
		}
		if s.flush() != nil {
			return
		}
		if more && ctx.Err() == nil {
			continue
		}
		var again <-chan time.Time
		if err != nil {
			again = time.After(streamRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.d.closing:
			return
		case <-s.closed:
			return
		case <-s.v.wake:
		case <-again:
		case <-beat.C:
			due = true
		}
	}
}

// next writes what the log has after the client's position. An error other than errStale says nothing about the log: it is read again.
func (s *stream) next(ctx context.Context, unknown bool) (more bool, err error) {
	p := part{}
	if err = errStale; !unknown {
		p, err = s.t.read(ctx, s.v, s.at, s.opt.History)
	}
	if err == nil && len(p.entries) == 0 && p.next == s.at {
		err = s.ahead(ctx)
	}
	if errors.Is(err, errStale) {
		now, err := s.t.now(ctx)
		if err != nil {
			return false, err
		}
		s.at, s.sent = now, now
		fmt.Fprintf(&s.buf, "id: %s\nevent: stale\ndata: {}\n\n", now)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range p.entries {
		s.event(e)
	}
	s.at = p.next
	return p.more, nil
}

// ahead returns errStale if the client's position is one that the log has not reached.
func (s *stream) ahead(ctx context.Context) error {
	s.t.mu.Lock()
	ahead := before(s.t.cursor, s.at)
	s.t.mu.Unlock()
	if !ahead {
		return nil
	}
	last, err := s.t.now(ctx)
	if err == nil && before(last, s.at) {
		return errStale
	}
	return err
}

// now is the last position of the log.
func (t *tail) now(ctx context.Context) (string, error) {
	page, err := t.d.readTail(ctx, t.p, false, "up", "18446744073709551615-18446744073709551615", 0, nil)
	return page.last, err
}

// position has the client know how far it has got, also without an event.
func (s *stream) position() {
	if s.at != s.sent {
		s.sent = s.at
		s.buf.WriteString("id: " + s.at + "\n")
		s.buf.WriteString("\n")
	}
}

var errStale = errors.New("events: the log does not go back that far")

// event writes one event. What can't be read is left out: it is some handler's to fail on.
func (s *stream) event(e tailEntry) {
	var d delivery
	if d.parse(e.body, s.d.foreign) != nil {
		return
	}
	var data json.RawMessage
	if d.decode(&data) != nil {
		return
	}
	s.sent = e.id
	s.buf.WriteString("id: ")
	s.buf.WriteString(e.id)
	s.buf.WriteString("\nevent: ")
	s.buf.WriteString(oneLine.Replace(d.Type))
	for line := range bytes.Lines(data) {
		s.buf.WriteString("\ndata: ")
		s.buf.Write(bytes.TrimRight(line, "\r\n"))
	}
	s.buf.WriteString("\n\n")
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// flush sends what was written, within the write timeout.
func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	if s.buf.Reset(); s.buf.Cap() > 4<<10 { // a stream that waits holds nothing
		s.buf = bytes.Buffer{}
	}
	return s.control.Flush()
}

// before compares positions.
func before(a, b string) bool {
	ams, aseq := parsePosition(a)
	bms, bseq := parsePosition(b)
	return ams < bms || ams == bms && aseq < bseq
}

func parsePosition(s string) (ms, seq uint64) {
	first, second, _ := strings.Cut(s, "-")
	ms, _ = strconv.ParseUint(first, 10, 64)
	seq, _ = strconv.ParseUint(second, 10, 64)
	return ms, seq
}
