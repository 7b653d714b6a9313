package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// stream is one client's response.
type stream struct {
	*SSEHandler
	t       *tail
	v       *viewer
	at      string // the client has all events up to this position
	sent    string // the last position that was sent to the client
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

// streamRetry is the time until a failed read of the log is repeated.
const streamRetry = 250 * time.Millisecond

func (s *stream) serve(ctx context.Context, position string) {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that buffers would delay events
	s.w.WriteHeader(http.StatusOK)
	s.buf.WriteString(": here\n\n")

	unknown := false
	if position == "" {
		s.position()
	} else if known, ok := canonicalPosition(position); ok {
		s.at = known
	} else {
		unknown = true
	}
	if s.flush() != nil {
		return
	}

	beat := time.NewTicker(s.opt.Heartbeat)
	defer beat.Stop()
	for due := false; ; {
		p, err := s.next(ctx, unknown)
		unknown = false
		if s.events(p.entries) != nil {
			return
		}
		if due { // after the events, because the position covers them
			due = false
			s.buf.WriteString(":\n")
			s.position()
			s.buf.WriteString("\n")
		}
		if s.flush() != nil {
			return
		}
		if p.more && ctx.Err() == nil {
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

// next reads the events after the client's position. An error says nothing about the log, and the
// read is repeated.
func (s *stream) next(ctx context.Context, unknown bool) (p part, err error) {
	if err = errStale; !unknown {
		p, err = s.t.read(ctx, s.v, s.at, s.opt.History)
	}
	if err == nil && len(p.entries) == 0 && p.next == s.at {
		err = s.ahead(ctx)
	}
	if errors.Is(err, errStale) {
		now, err := s.t.now(ctx)
		if err != nil {
			return part{}, err
		}
		s.at, s.sent = now, now
		fmt.Fprintf(&s.buf, "id: %s\nevent: stale\ndata: {}\n\n", now)
		return part{}, nil
	}
	if err != nil {
		return part{}, err
	}
	s.at = p.next
	return p, nil
}

// ahead returns errStale if the log has not reached the client's position.
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

// position sends the client its position, also without an event.
func (s *stream) position() {
	if s.at != s.sent {
		s.sent = s.at
		s.buf.WriteString("id: " + s.at + "\n\n")
	}
}

var errStale = errors.New("events: the log does not go back that far")

// events writes events. All streams of a channel share the texts. One write timeout covers all
// events.
func (s *stream) events(entries []heldEntry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := s.deadline(); err != nil {
		return err
	}
	for i, e := range entries {
		entries[i] = heldEntry{} // a stream that waits for its client holds only unwritten events
		text := e.body.render(e.id, s.d.foreign)
		if len(text) == 0 {
			continue
		}
		s.sent = e.id
		if _, err := s.w.Write(text); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

// flush sends the buffer to the client, within the write timeout.
func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	if err := s.deadline(); err != nil {
		return err
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	s.buf.Reset()
	return s.control.Flush()
}

func (s *stream) deadline() error {
	err := s.control.SetWriteDeadline(time.Now().Add(s.opt.WriteTimeout))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
