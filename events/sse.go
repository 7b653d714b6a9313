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
	"time"

	"github.com/redstart-go/redstart/internal/fault"
)

// SSEOptions configure Durable.SSE.
type SSEOptions struct {
	// Heartbeat is how often a comment is sent when there is nothing else, so that a dead connection is noticed. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long one write may take; a client that does not read is cut off. Default 10 s.
	WriteTimeout time.Duration
	// Queue is how many events may wait for one client; one that is slower is cut off, and resumes. Default 256.
	Queue int
	// History is how many stored events of the channel's partition are looked at for a client that resumes. One that
	// was away for longer is told that it is stale. Default 10,000.
	History int
}

// SSE streams a channel's events to browsers as Server-Sent Events (HTML Living Standard, 9.2). The channel is what the
// given function says about a request, such as the signed-in user's own; its error is answered with 403 and not shown.
//
// Each event has the event's type as "event", its Position as "id" and its data as "data". A client that comes back with
// Last-Event-ID gets what it missed out of the log, as far as the log goes: give the bus a Retention. When it
// can't be told what was missed, it gets an event "stale" first and should load afresh. A stream ends with the request's
// context (cancel it to revoke), with the client of redstart, and when the browser is too slow; browsers reconnect.
//
// One reader per partition serves all streams of a process. A server needs no group to be registered for it.
func (d *Durable) SSE(channel func(r *http.Request) (string, error), opts SSEOptions) (http.Handler, error) {
	switch {
	case channel == nil:
		return nil, errors.New("events: SSE: the channel function is nil")
	case opts.Heartbeat < 0, opts.WriteTimeout < 0, opts.Queue < 0, opts.History < 0:
		return nil, errors.New("events: SSEOptions: Heartbeat, WriteTimeout, Queue and History are not negative")
	}
	opts.Heartbeat = orDefault(opts.Heartbeat, 15*time.Second)
	opts.WriteTimeout = orDefault(opts.WriteTimeout, 10*time.Second)
	opts.Queue = orDefault(opts.Queue, 256)
	opts.History = orDefault(opts.History, 10_000)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		name, err := channel(r)
		if err != nil {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		v := &viewer{channel: name, queue: make(chan entry, opts.Queue), cut: make(chan struct{})}
		t, from, err := d.follow(r.Context(), v)
		if err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, fault.ErrUnavailable) {
				status = http.StatusServiceUnavailable
			}
			http.Error(w, http.StatusText(status), status)
			return
		}
		defer t.leave(v)
		s := &stream{d: d, opt: opts, w: w, control: http.NewResponseController(w)}
		s.serve(r.Context(), v, r.Header.Get("Last-Event-ID"), from)
	}), nil
}

// stream is one client's response.
type stream struct {
	d       *Durable
	opt     SSEOptions
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

func (s *stream) serve(ctx context.Context, v *viewer, last, from string) {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that buffer would hold events back
	s.w.WriteHeader(http.StatusOK)
	if last == "" {
		s.buf.WriteString(": here\n\n")
		if s.flush() != nil {
			return
		}
	} else if s.resume(ctx, v.channel, last, from) != nil {
		return
	}
	beat := time.NewTicker(s.opt.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.d.closing:
			return
		case <-v.cut:
			return
		case <-beat.C:
			s.buf.WriteString(":\n\n")
		case e := <-v.queue:
			s.event(e)
			for range len(v.queue) {
				s.event(<-v.queue)
			}
			beat.Reset(s.opt.Heartbeat)
		}
		if s.flush() != nil {
			return
		}
	}
}

// resume sends what the client missed between the last event that it saw and the position from which it is served, or says
// that it is stale.
func (s *stream) resume(ctx context.Context, channel, last, from string) error {
	missed, err := s.d.history(ctx, channel, last, from, s.opt.History)
	if err != nil {
		fmt.Fprintf(&s.buf, "id: %s\nevent: stale\ndata: {}\n\n", from)
		return s.flush()
	}
	s.buf.WriteString(": resumed\n\n")
	for _, e := range missed {
		s.event(e)
	}
	return s.flush()
}

var errStale = errors.New("events: the log does not go back that far")

// history returns a channel's events after one position up to another, or errStale if some may be missing. Trimming cuts
// from the old end: while something at or before the client's position is still there, nothing after it was cut.
func (d *Durable) history(ctx context.Context, channel, last, until string, limit int) ([]entry, error) {
	if !isPosition(last) || before(until, last) {
		return nil, errStale
	}
	if last == until {
		return nil, nil
	}
	p := d.parts[partitionOf(channel, len(d.parts))]
	msg, err := d.core.Do(ctx, d.core.B().Xrevrange().Key(p.stream).End(last).Start("-").Count(1).Build())
	if err != nil {
		return nil, err
	}
	if older, err := msg.AsXRange(); err != nil || len(older) == 0 {
		return nil, errStale
	}
	var found []entry
	for seen := 0; ; {
		msg, err := d.core.Do(ctx, d.core.B().Xrange().Key(p.stream).Start("("+last).End(until).Count(tailCount).Build())
		if err != nil {
			return nil, err
		}
		page, err := msg.AsXRange()
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.FieldValues["c"] == channel {
				found = append(found, entry{e.ID, envelopeField, e.FieldValues[envelopeField]})
			}
			last = e.ID
		}
		if seen += len(page); len(page) < tailCount {
			return found, nil
		}
		if seen >= limit {
			return nil, errStale
		}
	}
}

// event writes one event. What can't be read is left out: it is some handler's to fail on.
func (s *stream) event(e entry) {
	var d delivery
	if d.parse(e.body, s.d.foreign) != nil {
		return
	}
	var data json.RawMessage
	if d.decode(&data) != nil {
		return
	}
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
	if err := s.control.SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	s.buf.Reset()
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
