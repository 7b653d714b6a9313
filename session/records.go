package session

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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

	createScript = script.New(recordLua + createLua)
	saveScript   = script.New(recordLua + saveLua)
	touchScript  = script.New(recordLua + touchLua)
)

// records is the server's side of a Manager: it reads and writes records and knows nothing of T or of HTTP.
type records struct {
	core  *core.Core
	space keys.Space
	name  string
	opt   *Options
	seal  sealer
	count counters
	lines lines

	points failpoint.Points // "write", with its verb, before each

	recalls flight.Group[string, *made] // by token

	// skew is the server's clock minus ours, in ms, as the last script's answer taught it. It only decides
	// whether a touch is worth sending; what ends when is decided by the server.
	skew atomic.Int64
}

func newRecords(c *core.Core, name string, opt *Options) (*records, error) {
	space, err := c.Keys("session", name)
	if err != nil {
		return nil, err
	}
	rs := &records{core: c, space: space, name: name, opt: opt, seal: newSealer(opt.EncryptionKeys, opt.AllowPlaintext)}
	rs.lines.init()
	return rs, nil
}

// start begins an observed operation.
func (rs *records) start(ctx context.Context, verb string) (context.Context, func(error)) {
	if !rs.core.Observed() {
		return ctx, func(error) {}
	}
	ctx, end := rs.core.Start(ctx, observe.Operation{Pattern: "session", Name: rs.name, Verb: verb})
	if end == nil {
		end = func(error) {}
	}
	return ctx, end
}

func (rs *records) index(tag string) string   { return rs.space.Key(tag) }
func (rs *records) key(at address) string     { return rs.space.Sibling(at.tag, "s:"+at.id) }
func (rs *records) tag(user string) string    { return tagOf(rs.opt.UserKey, user) }
func (rs *records) clock() int64              { return time.Now().UnixMilli() + rs.skew.Load() }
func (rs *records) learn(serverMillis int64)  { rs.skew.Store(serverMillis - time.Now().UnixMilli()) }
func (rs *records) channel(tag string) string { return rs.space.Sibling(tag, "gone") }
func (rs *records) graceKey(at address, hash [sha256.Size]byte) string {
	return rs.space.Sibling(at.tag, "g:"+at.id+":"+base64.RawURLEncoding.EncodeToString(hash[:]))
}

func (rs *records) place(r *record) place {
	return place{index: rs.index(r.at.tag), id: r.at.id, kind: r.kind, version: r.version, idle: r.idle, link: r.link, hash: r.hash}
}

// find reads the record of a session's token and checks the secret. errReplaced, which is an ErrNotFound, says that a login or logout
// with this token has just happened.
func (rs *records) find(ctx context.Context, at address, secret string) (rec *record, err error) {
	rec, err = rs.read(ctx, at)
	replaced := errors.Is(err, errReplaced)
	if err == nil && rec.kind == kindRemember {
		err = ErrNotFound // a token of the other sort, in the wrong cookie
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

// read reads a record by its address. What is no record of ours is ErrNotFound, what another release or another key has written is
// ErrUnreadable; both are counted.
func (rs *records) read(ctx context.Context, at address) (*record, error) {
	c := rs.core
	msg, err := c.Do(ctx, core.Read("GET", rs.key(at)))
	if err != nil {
		if errors.Is(err, fault.ErrCorrupt) { // not a string: not ours
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
		err = errNonsense
	}
	if err == nil {
		rec.payload, rec.oldKey, err = rs.seal.open(rs.place(rec), rec.body)
	}
	if err == nil && (rec.kind == kindAnonymous) != (rec.user == "") {
		err = errNonsense
	}
	if err == nil && ((rec.deadline == 0) != (rec.latest == 0) || rec.deadline > rec.latest) {
		err = errTampers
	}
	switch {
	case err == nil:
		return rec, nil
	case errors.Is(err, errEnded): // a login into another slot is under way: the old token is dead
	case errors.Is(err, errForeignFormat):
		rs.count.foreign.Add(1)
		return nil, unreadable(err, "let the releases run side by side until no session of the other one lives")
	case errors.Is(err, errNoKey):
		rs.count.unreadable.Add(1)
		return nil, unreadable(err, "put the key into EncryptionKeys, not first, in every process before one writes with it")
	default:
		rs.count.unreadable.Add(1)
	}
	return nil, ErrNotFound
}

func (rs *records) inGrace(ctx context.Context, at address, hash [sha256.Size]byte) error {
	if rs.opt.RenewGrace == NoLimit {
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

// touch notes a record's use if the last note is old enough, and seals it with the first key. It returns ErrNotFound if
// the record is gone; a server that can't note it doesn't matter yet.
func (rs *records) touch(ctx context.Context, rec *record) error {
	now := rs.clock()
	age, every := now-rec.touched, throttle(rec.idle)
	overdue := rec.deadline > 0 && now >= rec.deadline // the server decides
	if age < every && age > -every && !overdue {       // a note from the future: our clock is wrong, and the touch corrects it
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

// save replaces a record's payload and, with a secret, its secret. ErrNotFound: it is gone. A
// *staleError: it has changed.
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
		if rs.opt.RenewGrace != NoLimit {
			grace = millis(rs.opt.RenewGrace)
			keys = append(keys, rs.graceKey(old.at, [sha256.Size]byte([]byte(old.hash))))
		}
	}
	body, err := rs.seal.seal(rs.place(&next), &p)
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

func (rs *records) fits(p *payload) error {
	if size := len(p.data) + len(p.flashes); size > rs.opt.MaxSize {
		return tooLarge("data and flash messages", size, rs.opt.MaxSize)
	}
	return nil
}
