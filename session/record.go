package session

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

// The layout of a record, as record.lua draws it: a header of fixed width, then the body.
const (
	versionLen = 8
	headerLen  = 114

	formatVersion = '1'
	stateLive     = 'L'
	stateBuried   = 'B'

	kindUser      = 'u'
	kindAnonymous = 'a'
	kindRemember  = 'r'

	noLink = "................"
)

// record is a stored session, as read. It is never changed: a write makes another one.
type record struct {
	at       address
	kind     byte
	version  string
	created  time.Time
	touched  int64 // ms of the server's clock
	deadline int64 // ms, 0 = none
	idle     int64 // ms, 0 = none
	link     string
	hash     string
	body     string // as stored
	payload         // decoded body
}

// payload is what a body says. All but data is in the session's hands alone.
type payload struct {
	user      string
	userAgent string
	address   string
	flashes   string // JSON
	data      string // in the codec's words
}

var (
	errForeignFormat = errors.New("the record is of another release's format")
	errNonsense      = errors.New("the record can't be read")
	errEnded         = errors.New("the session is ending")
)

// parseHeader reads everything but the body.
func parseHeader(at address, raw string) (*record, error) {
	switch {
	case len(raw) < 2:
		return nil, errNonsense
	case raw[0] != formatVersion:
		return nil, errForeignFormat
	case len(raw) < headerLen:
		return nil, errNonsense
	case raw[1] == stateBuried:
		return nil, errEnded
	case raw[1] != stateLive:
		return nil, errNonsense
	}
	r := &record{at: at, kind: raw[2], version: raw[3:11], link: raw[66:82], hash: raw[82:headerLen], body: raw[headerLen:]}
	micros, ok1 := digits(raw[11:27])
	touched, ok2 := digits(raw[27:40])
	deadline, ok3 := digits(raw[40:53])
	idle, ok4 := digits(raw[53:66])
	if !ok1 || !ok2 || !ok3 || !ok4 || r.kind != kindUser && r.kind != kindAnonymous && r.kind != kindRemember || r.link != noLink && !isID(r.link) {
		return nil, errNonsense
	}
	r.created = time.UnixMicro(micros)
	r.touched, r.deadline, r.idle = touched, deadline, idle
	return r, nil
}

func digits(s string) (n int64, ok bool) {
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d)
	}
	return n, true
}

// proves reports whether a secret is the record's newest.
func (r *record) proves(secret string) bool {
	hash := hashOf(secret)
	return secret != "" && subtle.ConstantTimeCompare(hash[:], []byte(r.hash)) == 1
}

// linked is the id of the record that ends with this one, or "".
func (r *record) linked() string {
	if r.link == noLink {
		return ""
	}
	return r.link
}

func linkTo(id string) string {
	if id == "" {
		return noLink
	}
	return id
}

// throttle is how long a touch is good for: a tenth of the idle time, at most a minute.
func throttle(idle int64) int64 {
	const most = int64(time.Minute / time.Millisecond)
	if idle == 0 {
		return most
	}
	return min(idle/10, most)
}

// until is when the record ends if nobody touches it again, in ms of the server's clock.
func (r *record) until() int64 {
	at := r.deadline
	if r.idle > 0 {
		if idle := r.touched + r.idle + throttle(r.idle); at == 0 || idle < at {
			at = idle
		}
	}
	return at
}

// append writes a payload: each part behind its length.
func (p *payload) append(b []byte) []byte {
	for _, part := range []string{p.user, p.userAgent, p.address, p.flashes, p.data} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

func parsePayload(s string) (p payload, err error) {
	for _, part := range []*string{&p.user, &p.userAgent, &p.address, &p.flashes, &p.data} {
		n, size := uvarint(s)
		if size <= 0 || n > uint64(len(s)-size) {
			return payload{}, errNonsense
		}
		*part, s = s[size:size+int(n)], s[size+int(n):]
	}
	if s != "" {
		return payload{}, errNonsense
	}
	return p, nil
}

// uvarint is binary.Uvarint for a string, in at most five bytes and one spelling.
func uvarint(s string) (n uint64, size int) {
	for i := range min(len(s), 5) {
		c := s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, -1
			}
			return n, i + 1
		}
	}
	return 0, -1
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
