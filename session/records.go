package session

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/flight"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
)

var (
	//go:embed record.lua
	recordLua string
	//go:embed create.lua
	createLua string
	//go:embed save.lua
	saveLua string
	//go:embed touch.lua
	touchLua string

	createScript = script.New(script.UndeclaredKeys + recordLua + createLua)
	saveScript   = script.New(recordLua + saveLua)
	touchScript  = script.New(recordLua + touchLua)
)

// records is the storage of a Manager. It reads and writes records. It does not depend on T or on
// HTTP.
type records struct {
	core   *core.Core
	space  keys.Space
	name   string
	opt    *Options
	seal   sealer
	count  counters
	queues queues

	points failpoint.Points // "write" before each write, with the verb

	recalls flight.Group[string, *createdSession] // by token

	// skew is the clock of the server minus the clock of this process, in ms, from the reply of the
	// last script. It only decides whether to send a touch. The server decides when a session ends.
	skew atomic.Int64
}

func newRecords(c *core.Core, name string, opt *Options) (*records, error) {
	space, err := c.Keys("session", name)
	if err != nil {
		return nil, err
	}
	rs := &records{core: c, space: space, name: name, opt: opt, seal: newSealer(opt.EncryptionKeys, opt.AllowPlaintext)}
	rs.queues.init()
	return rs, nil
}

// start starts an observed operation.
func (rs *records) start(ctx context.Context, verb string) (context.Context, func(error)) {
	if !rs.core.Observed() {
		return ctx, func(error) {}
	}
	return rs.core.Start(ctx, observe.Operation{Pattern: "session", Name: rs.name, Verb: verb})
}

func (rs *records) index(tag string) string { return rs.space.Key(tag) }
func (rs *records) key(at address) string   { return rs.space.Sibling(at.tag, "s:"+at.id) }
func (rs *records) tag(user string) string  { return tagOf(rs.opt.UserKey, user) }
func (rs *records) clock() int64            { return rs.core.Time().Now().UnixMilli() + rs.skew.Load() }
func (rs *records) setSkew(serverMillis int64) {
	rs.skew.Store(serverMillis - rs.core.Time().Now().UnixMilli())
}
func (rs *records) channel(tag string) string { return rs.space.Sibling(tag, "gone") }
func (rs *records) graceKey(at address, hash [sha256.Size]byte) string {
	return rs.space.Sibling(at.tag, "g:"+at.id+":"+base64.RawURLEncoding.EncodeToString(hash[:]))
}

func (rs *records) binding(r *record) binding {
	return binding{index: rs.index(r.at.tag), id: r.at.id, kind: r.kind, version: r.version, idle: r.idle,
		link: r.link, hash: r.hash}
}

// find reads the record of a session token and checks the secret. It returns errReplaced, which is
// an ErrNotFound, if a login or logout has just replaced this token.
func (rs *records) find(ctx context.Context, at address, secret string) (rec *record, err error) {
	rec, err = rs.read(ctx, at)
	replaced := errors.Is(err, errReplaced)
	if err == nil && rec.kind == kindRemember {
		err = ErrNotFound // a remember-me token in the session cookie
	}
	if err == nil && !rec.proves(secret) {
		err = rs.inGrace(ctx, at, hashOf(secret))
	}
	if replaced && !rec.proves(secret) {
		err = ErrNotFound
	}
	if err == nil {
		rs.count.hits.Add(1)
		return rec, nil
	}
	rs.countMiss(err)
	return nil, err
}

func (rs *records) countMiss(err error) {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnreadable) {
		rs.count.misses.Add(1)
	} else {
		rs.count.unavailable.Add(1)
	}
}

// read reads the record at an address. Bytes that are no record are an ErrNotFound. A record of
// another release or with an unknown key is an ErrUnreadable. Both are counted.
func (rs *records) read(ctx context.Context, at address) (*record, error) {
	c := rs.core
	msg, err := c.Do(ctx, core.Read("GET", rs.key(at)))
	if err != nil {
		if errors.Is(err, fault.ErrCorrupt) { // not a string
			rs.count.unreadable.Add(1)
			return nil, ErrNotFound
		}
		return nil, err
	}
	if msg.IsNil() {
		return nil, ErrNotFound
	}
	raw, err := msg.ToString()
	if err != nil {
		rs.count.unreadable.Add(1)
		return nil, ErrNotFound
	}
	return rs.parse(at, raw)
}

func (rs *records) parse(at address, raw string) (*record, error) {
	rec, err := parseHeader(at, raw)
	if err == nil && rec.state == stateReplaced {
		return rec, fmt.Errorf("%w: %w", ErrNotFound, errReplaced)
	}
	if err == nil && len(rec.body) > 2*maxMaxSize {
		err = errMalformed
	}
	if err == nil {
		rec.payload, rec.oldKey, err = rs.seal.open(rs.binding(rec), rec.body)
	}
	if err == nil && (rec.kind == kindAnonymous) != (rec.user == "") {
		err = errMalformed
	}
	if err == nil && ((rec.deadline == 0) != (rec.latest == 0) || rec.deadline > rec.latest) {
		err = errTampered
	}
	switch {
	case err == nil:
		return rec, nil
	case errors.Is(err, errMoving): // a login to another slot is under way: the old token is invalid
	case errors.Is(err, errForeignFormat):
		rs.count.foreign.Add(1)
		return nil, unreadable(err, "run both releases until all sessions of the other release have ended")
	case errors.Is(err, errNoKey):
		rs.count.unreadable.Add(1)
		return nil, unreadable(err,
			"add the key to EncryptionKeys of every process, not as the first key, before a process encrypts with it")
	default:
		rs.count.unreadable.Add(1)
	}
	return nil, ErrNotFound
}

// inGrace returns nil if the token with this hash was replaced by Renew and is in its grace period.
func (rs *records) inGrace(ctx context.Context, at address, hash [sha256.Size]byte) error {
	if rs.opt.RenewGrace == none {
		return ErrNotFound
	}
	c := rs.core
	msg, err := c.Do(ctx, core.Read("GET", rs.graceKey(at, hash)))
	if err != nil {
		return err
	}
	if msg.IsNil() {
		return ErrNotFound
	}
	return nil
}

// touch stores the use of a record if the last use was stored long enough ago. It encrypts the
// record with the first key if the record has an older key. It returns ErrNotFound if the record is
// gone. Other errors are ignored, because the load has succeeded.
func (rs *records) touch(ctx context.Context, rec *record) error {
	now := rs.clock()
	age, every := now-rec.touched, throttle(rec.idle)
	overdue := rec.deadline > 0 && now >= rec.deadline // the server decides
	if age < every && age > -every && !overdue {       // below -every the skew is wrong, and the touch corrects it
		return nil
	}

	if rec.oldKey && !overdue {
		_, err := rs.save(ctx, rec, rec.payload, "")
		if errors.Is(err, ErrNotFound) {
			return ErrNotFound
		}
		return nil // another writer was faster, or the next request tries again
	}
	rs.points.Hold("write", "touch")
	msg, err := rs.core.Eval(ctx, touchScript, []string{rs.index(rec.at.tag), rs.key(rec.at)}, []string{rec.at.id})
	if err != nil {
		return nil //nolint:nilerr // the load has succeeded; the next request touches again
	}
	if _, err := rs.decodeTime(rec.at, msg); err != nil {
		return ErrNotFound
	}
	rs.count.touched.Add(1)
	return nil
}

// save replaces the payload of a record, and its secret unless secret is "". Errors: ErrNotFound if
// the record is gone; a *staleError if it has changed.
func (rs *records) save(ctx context.Context, old *record, p payload, secret string) (*record, error) {
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	next := *old
	next.version, next.payload, next.oldKey = newVersion(), p, false

	keys := []string{rs.index(old.at.tag), rs.key(old.at)}
	newHash, grace := "", "0"
	if secret != "" {
		hash := hashOf(secret)
		newHash = string(hash[:])
		next.hash = newHash
		if rs.opt.RenewGrace != none {
			grace = millis(rs.opt.RenewGrace)
			keys = append(keys, rs.graceKey(old.at, [sha256.Size]byte([]byte(old.hash))))
		}
	}
	body, err := rs.seal.seal(rs.binding(&next), &p)
	if err != nil {
		return nil, err
	}
	next.body = body
	rs.points.Hold("write", "save")
	msg, err := rs.core.Eval(ctx, saveScript, keys, []string{old.version, next.version, newHash, grace, body, old.at.id})
	if err != nil {
		return nil, err
	}
	if next.touched, err = rs.decodeTime(old.at, msg); err != nil {
		return nil, err
	}
	rs.count.saved.Add(1)
	return &next, nil
}

// fits returns an error if the data and the flash messages exceed MaxSize.
func (rs *records) fits(p *payload) error {
	if size := len(p.data) + len(p.flashes); size > rs.opt.MaxSize {
		return tooLarge("data and flash messages", size, rs.opt.MaxSize)
	}
	return nil
}
