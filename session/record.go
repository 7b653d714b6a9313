package session

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

// The layout of a record, see record.lua: a header of fixed width, then the body.
const (
	versionLen = 8
	headerLen  = 114

	formatVersion = '2'

	// docs/design/0040-session-states.md has the table of transitions.
	stateLive     = 'L'
	stateRotated  = 'R' // a remember-me token whose previous secret is still valid
	stateMoving   = 'M' // a login to another slot is under way
	stateReplaced = 'T' // replaced by a login, or destroyed: its token creates no session

	kindUser      = 'u'
	kindAnonymous = 'a'
	kindRemember  = 'r'

	noLink = "................"
)

// record is a stored session as it was read. It is immutable: a write creates another record.
type record struct {
	at       address
	state    byte
	kind     byte
	version  string
	created  time.Time
	touched  int64 // ms of the server's clock
	deadline int64 // ms, 0 = none
	idle     int64 // ms, 0 = none
	link     string
	hash     string
	body     string // as stored
	oldKey   bool   // encrypted with a key that is not the first
	payload         // decoded body
}

// payload is the decoded body. The application chooses data; the other fields belong to this
// package.
type payload struct {
	user      string
	userAgent string
	address   string
	flashes   string // JSON
	data      string // ID of the codec, then its encoding

	authenticated int64 // ms of the server's clock: when the user proved their identity
	latest        int64 // ms: the deadline is at most this, 0 = no deadline
	recalled      bool  // the session began with a remember-me token
	persistent    bool  // its cookie is persistent

	proof    string // of a remember-me token: SHA-256 of the half that all its secrets share
	previous string // of a remember-me token: SHA-256 of the previous secret
}

var (
	errForeignFormat = errors.New("the record has the format of another release")
	errMalformed     = errors.New("the record is malformed")
	errMoving        = errors.New("the session is moving to another slot")
	errReplaced      = errors.New("the session was replaced")
)

// parseHeader parses the header and does not decode the body.
func parseHeader(at address, raw string) (*record, error) {
	switch {
	case raw == "":
		return nil, errMalformed
	case raw[0] != formatVersion:
		return nil, errForeignFormat
	case len(raw) < headerLen:
		return nil, errMalformed
	case raw[1] == stateMoving:
		return nil, errMoving
	case raw[1] != stateLive && raw[1] != stateReplaced && (raw[1] != stateRotated || raw[2] != kindRemember):
		return nil, errMalformed
	}
	r := &record{at: at, state: raw[1], kind: raw[2], version: raw[3:11], link: raw[66:82],
		hash: raw[82:headerLen], body: raw[headerLen:]}
	micros, ok1 := digits(raw[11:27])
	touched, ok2 := digits(raw[27:40])
	deadline, ok3 := digits(raw[40:53])
	idle, ok4 := digits(raw[53:66])
	if !ok1 || !ok2 || !ok3 || !ok4 || r.kind != kindUser && r.kind != kindAnonymous &&
		r.kind != kindRemember || r.link != noLink && !isID(r.link) {
		return nil, errMalformed
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

// proves reports whether secret is the newest secret of the record.
func (r *record) proves(secret string) bool {
	hash := hashOf(secret)
	return secret != "" && subtle.ConstantTimeCompare(hash[:], []byte(r.hash)) == 1
}

// linked returns the id of the record that ends with this record, or "".
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

// throttle returns the minimum time between two touches in ms: a tenth of the idle time, at most 1
// min.
func throttle(idle int64) int64 {
	const most = int64(time.Minute / time.Millisecond)
	if idle == 0 {
		return most
	}
	return min(idle/10, most)
}

// until returns the time at which the record ends without another touch, in ms of the server's
// clock.
func (r *record) until() int64 {
	at := r.deadline
	if r.idle > 0 {
		if idle := r.touched + r.idle + throttle(r.idle); at == 0 || idle < at {
			at = idle
		}
	}
	return at
}

const (
	flagRecalled = 1 << iota
	flagPersistent
	flagsKnown = flagRecalled | flagPersistent
)

// texts returns the parts of a payload that are encoded with a length prefix.
func (p *payload) texts() [7]*string {
	return [7]*string{&p.user, &p.userAgent, &p.address, &p.flashes, &p.data, &p.proof, &p.previous}
}

// append encodes a payload: each text with its length, then two times, then the flags.
func (p *payload) append(b []byte) []byte {
	for _, text := range p.texts() {
		b = binary.AppendUvarint(b, uint64(len(*text)))
		b = append(b, *text...)
	}
	b = binary.AppendUvarint(b, uint64(p.authenticated))
	b = binary.AppendUvarint(b, uint64(p.latest))
	var flags byte
	if p.recalled {
		flags |= flagRecalled
	}
	if p.persistent {
		flags |= flagPersistent
	}
	return append(b, flags)
}

// size returns an upper bound of the bytes that append adds.
func (p *payload) size() int {
	n := 2*binary.MaxVarintLen64 + 1
	for _, text := range p.texts() {
		n += binary.MaxVarintLen32 + len(*text)
	}
	return n
}

func parsePayload(s string) (p payload, err error) {
	for _, text := range p.texts() {
		n, size := uvarint(s)
		if size <= 0 || n > uint64(len(s)-size) {
			return payload{}, errMalformed
		}
		*text, s = s[size:size+int(n)], s[size+int(n):]
	}
	for _, number := range []*int64{&p.authenticated, &p.latest} {
		n, size := uvarint(s)
		if size <= 0 || n > maxMillis {
			return payload{}, errMalformed
		}
		*number, s = int64(n), s[size:]
	}
	if len(s) != 1 || s[0]&^flagsKnown != 0 {
		return payload{}, errMalformed
	}
	p.recalled, p.persistent = s[0]&flagRecalled != 0, s[0]&flagPersistent != 0
	return p, nil
}

// maxMillis is the largest time that the 13 digits of a record can hold.
const maxMillis = 9_999_999_999_999

// uvarint is binary.Uvarint for a string. It accepts at most seven bytes and only the shortest
// encoding.
func uvarint(s string) (n uint64, size int) {
	for i := range min(len(s), 7) {
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
