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

	formatVersion = '2'

	// docs/design/0040-session-states.md has the table of transitions.
	stateLive     = 'L'
	stateRotated  = 'R' // a remember-me token whose previous secret still counts
	stateMoving   = 'M' // a login to another slot is under way
	stateReplaced = 'T' // by a login, or destroyed: its token begins no other session

	kindUser      = 'u'
	kindAnonymous = 'a'
	kindRemember  = 'r'

	noLink = "................"
)

// record is a stored session, as read. It is never changed: a write makes another one.
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

// payload is what a body says. All but data is in the session's hands alone.
type payload struct {
	user      string
	userAgent string
	address   string
	flashes   string // JSON
	data      string // in the codec's words

	authenticated int64 // ms of the server's clock: when the user proved their identity
	latest        int64 // ms: the deadline is not after this, 0 = there is none
	recalled      bool  // the session began with a remember-me token
	persistent    bool  // its cookie survives the browser

	proof    string // of a remember-me token: SHA-256 of the part that all its secrets share
	previous string // of a remember-me token: SHA-256 of the secret before
}

var (
	errForeignFormat = errors.New("the record is of another release's format")
	errNonsense      = errors.New("the record can't be read")
	errEnded         = errors.New("the session is ending")
	errReplaced      = errors.New("the session was replaced")
)

// parseHeader reads everything but the body.
func parseHeader(at address, raw string) (*record, error) {
	switch {
	case raw == "":
		return nil, errNonsense
	case raw[0] != formatVersion:
		return nil, errForeignFormat
	case len(raw) < headerLen:
		return nil, errNonsense
	case raw[1] == stateMoving:
		return nil, errEnded
	case raw[1] != stateLive && raw[1] != stateReplaced && (raw[1] != stateRotated || raw[2] != kindRemember):
		return nil, errNonsense
	}
	r := &record{at: at, state: raw[1], kind: raw[2], version: raw[3:11], link: raw[66:82], hash: raw[82:headerLen], body: raw[headerLen:]}
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

const (
	flagRecalled = 1 << iota
	flagPersistent
	flagsKnown = flagRecalled | flagPersistent
)

// texts are the parts of a payload that are written behind their length.
func (p *payload) texts() [7]*string {
	return [7]*string{&p.user, &p.userAgent, &p.address, &p.flashes, &p.data, &p.proof, &p.previous}
}

// append writes a payload: each text behind its length, two times, the flags.
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

// size is what append writes, at most.
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
			return payload{}, errNonsense
		}
		*text, s = s[size:size+int(n)], s[size+int(n):]
	}
	for _, number := range []*int64{&p.authenticated, &p.latest} {
		n, size := uvarint(s)
		if size <= 0 || n > maxMillis {
			return payload{}, errNonsense
		}
		*number, s = int64(n), s[size:]
	}
	if len(s) != 1 || s[0]&^flagsKnown != 0 {
		return payload{}, errNonsense
	}
	p.recalled, p.persistent = s[0]&flagRecalled != 0, s[0]&flagPersistent != 0
	return p, nil
}

// maxMillis is a time that fits into a record's 13 digits.
const maxMillis = 9_999_999_999_999

// uvarint is binary.Uvarint for a string, in at most seven bytes and one spelling.
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
