package events

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redstart-go/redstart/internal/fault"
)

// envelope is an event in the JSON format of CloudEvents 1.0 (github.com/cloudevents/spec, v1.0.2),
// with the distributed tracing extension. The field "specversion" is the format version.
type envelope struct {
	ID, Source, Type, Subject string
	Time                      time.Time
	TraceParent, TraceState   string
	Data                      []byte // JSON
}

const specVersion = "1.0"

// appendEnvelope appends the only form that this package writes. parseQuick reads it.
func appendEnvelope(b []byte, e *envelope) []byte {
	b = append(b, `{"specversion":"1.0","id":`...)
	b = appendString(b, e.ID)
	b = append(b, `,"source":`...)
	b = appendString(b, e.Source)
	b = append(b, `,"type":`...)
	b = appendString(b, e.Type)
	b = append(b, `,"subject":`...)
	b = appendString(b, e.Subject)
	b = append(b, `,"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	if e.TraceParent != "" {
		b = append(b, `","traceparent":`...)
		b = appendString(b, e.TraceParent)
		b = append(b, `,"tracestate":`...)
		b = appendString(b, e.TraceState)
		b = append(b, `,"datacontenttype":"application/json","data":`...)
	} else {
		b = append(b, `","datacontenttype":"application/json","data":`...)
	}
	b = append(b, e.Data...)
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always has a JSON form
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// parse reads an envelope. It accepts the form of appendEnvelope (fast), every other CloudEvents
// JSON, and, with foreign, every JSON object that has a type.
func (d *delivery) parse(text string, foreign bool) (err error) {
	var quick bool
	if d.envelope, quick = parseQuick(text); quick {
		d.text, d.foreign = text, foreign
		return nil
	}
	d.envelope, err = parseAny(text, foreign)
	return err
}

// parseQuick reads the form of appendEnvelope if no field needs an escape. It does not check the
// data. If decode can't read the data, decode calls parseAny.
func parseQuick(text string) (e envelope, ok bool) {
	s, found := strings.CutPrefix(text, `{"specversion":"1.0","id":"`)
	if !found {
		return e, false
	}
	var when string
	for _, part := range []struct {
		to   *string
		then string
	}{{&e.ID, `,"source":"`}, {&e.Source, `,"type":"`}, {&e.Type, `,"subject":"`}, {&e.Subject, `,"time":"`}, {&when, `,"`}} {
		if *part.to, s, ok = cutPlain(s, part.then); !ok {
			return e, false
		}
	}
	if rest, traced := strings.CutPrefix(s, `traceparent":"`); traced {
		if e.TraceParent, s, ok = cutPlain(rest, `,"tracestate":"`); !ok {
			return e, false
		}
		if e.TraceState, s, ok = cutPlain(s, `,"`); !ok {
			return e, false
		}
	}
	if s, ok = strings.CutPrefix(s, `datacontenttype":"application/json","data":`); !ok || !strings.HasSuffix(s, "}") {
		return e, false
	}
	var err error
	if e.Time, err = time.Parse(time.RFC3339Nano, when); err != nil || e.ID == "" || e.Source == "" || e.Type == "" {
		return e, false
	}
	e.Time = e.Time.UTC()
	e.Data = []byte(s[:len(s)-1])
	return e, true
}

// headOf returns the subject of an event in the form of appendEnvelope.
func headOf(text string) (subject string, ok bool) {
	s, ok := strings.CutPrefix(text, `{"specversion":"1.0","id":"`)
	for _, then := range [...]string{`,"source":"`, `,"type":"`, `,"subject":"`} {
		if ok {
			_, s, ok = cutPlain(s, then)
		}
	}
	if ok {
		subject, _, ok = cutPlain(s, `,"time":"`)
	}
	return subject, ok
}

// cutPlain cuts the rest of a JSON string without escapes off s, and the text then, which must
// follow the closing quote.
func cutPlain(s, then string) (value, rest string, ok bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			rest, ok = strings.CutPrefix(s[i+1:], then)
			return s[:i], rest, ok
		case c < 0x20 || c == '\\' || c >= utf8.RuneSelf:
			return "", "", false
		}
	}
	return "", "", false
}

// loose has the fields of all JSON forms that parseAny reads.
type loose struct {
	SpecVersion string          `json:"specversion"`
	ID          json.RawMessage `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        string          `json:"time"`
	TraceParent string          `json:"traceparent"`
	TraceState  string          `json:"tracestate"`
	Data        json.RawMessage `json:"data"`
	DataBase64  *string         `json:"data_base64"`
}

func parseAny(text string, foreign bool) (envelope, error) {
	var l loose
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return envelope{}, undecodable("the envelope is not a JSON object", err)
	}
	e := envelope{Source: l.Source, Type: l.Type, Subject: l.Subject, TraceParent: l.TraceParent, TraceState: l.TraceState, Data: l.Data}
	if l.Time != "" {
		t, err := time.Parse(time.RFC3339Nano, l.Time)
		if err != nil {
			return envelope{}, undecodable("the envelope's time", err)
		}
		e.Time = t.UTC()
	}
	if e.ID = l.idText(); e.Type == "" {
		return envelope{}, undecodable("the envelope has no type", nil)
	}
	switch {
	case l.SpecVersion == "" && foreign: // without "data", the whole object is the data
		if e.Data == nil {
			e.Data = []byte(text)
		}
		return e, nil
	case l.SpecVersion != specVersion:
		return envelope{}, undecodable("specversion is "+strconv.Quote(l.SpecVersion)+", want 1.0", nil)
	case e.ID == "" || e.Source == "":
		return envelope{}, undecodable("the envelope has no id or no source", nil)
	case l.DataBase64 != nil:
		e.Data, _ = json.Marshal(*l.DataBase64) // a []byte decodes it; a string always has a JSON form
	case e.Data == nil:
		e.Data = []byte("null")
	}
	return e, nil
}

// idText returns the id as a string. Other programs write numbers.
func (l *loose) idText() string {
	var s string
	if json.Unmarshal(l.ID, &s) == nil {
		return s
	}
	return string(bytes.TrimSpace(l.ID))
}

// decode decodes the data into v.
func (d *delivery) decode(v any) error {
	err := unmarshal(d.Data, v)
	if err != nil && d.text != "" {
		text := d.text
		d.text = ""
		if whole, again := parseAny(text, d.foreign); again == nil {
			d.Data = whole.Data
			return unmarshal(d.Data, v)
		}
	}
	return err
}

func unmarshal(data []byte, v any) error {
	if raw, ok := v.(*json.RawMessage); ok {
		if !json.Valid(data) {
			return undecodable("the data is not JSON", nil)
		}
		*raw = append((*raw)[:0], data...)
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return undecodable(fmt.Sprintf("the data does not fit %T", v), err)
	}
	return nil
}

// marshal encodes data as JSON. MarshalJSON is user code, so its panic is contained.
func marshal(data any) (text []byte, err error) {
	err = guard(func() (err error) { text, err = json.Marshal(data); return err })
	return text, err
}

func undecodable(what string, err error) error {
	if err != nil {
		return fault.New(fault.ErrCorrupt, errors.Join(fmt.Errorf("events: %s: %w", what, err), errUndecodable), "")
	}
	return fault.New(fault.ErrCorrupt, fmt.Errorf("events: %s: %w", what, errUndecodable), "")
}

// newID returns 128 bits: 48 bits of time, so that ids sort by time, and 80 random bits.
func newID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	rand.Read(b[6:]) // never fails
	return hex.EncodeToString(b[:])
}
