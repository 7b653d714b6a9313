package session

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
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
	hooks hooks
	lines lines

	// skew is the server's clock minus ours, in ms, as the last script's answer taught it. It only decides
	// whether a touch is worth sending; what ends when is decided by the server.
	skew atomic.Int64
}

// hooks let tests stop a call between its parts.
type hooks struct {
	beforeWrite func(verb string)
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

func (rs *records) place(at address, kind byte, version, hash string) place {
	return place{index: rs.index(at.tag), id: at.id, kind: kind, version: version, hash: hash}
}

// find reads the record of a token and checks the secret. Graced says that it is not the last token
// any more but may still be used.
func (rs *records) find(ctx context.Context, at address, secret string, remember bool) (rec *record, graced bool, err error) {
	rec, err = rs.read(ctx, at)
	if err == nil && (rec.kind == kindRemember) != remember {
		err = ErrNotFound // a token of the other sort, in the wrong cookie
	}
	if err == nil {
		if !rec.proves(secret) {
			graced = true
			err = rs.inGrace(ctx, at, hashOf(secret))
		}
	}
	switch {
	case err == nil:
		rs.count.hits.Add(1)
		return rec, graced, nil
	case errors.Is(err, ErrNotFound):
		rs.count.misses.Add(1)
	default:
		rs.count.unavailable.Add(1)
	}
	return nil, false, err
}

// read reads a record by its address. What can't be read is ErrNotFound, and counted.
func (rs *records) read(ctx context.Context, at address) (*record, error) {
	c := rs.core
	msg, err := c.Do(ctx, c.B().Get().Key(rs.key(at)).Build())
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
	if err == nil && len(rec.body) > 2*maxMaxSize {
		err = errNonsense
	}
	if err == nil {
		rec.payload, err = rs.seal.open(rs.place(at, rec.kind, rec.version, rec.hash), rec.body)
	}
	if err == nil && (rec.kind == kindAnonymous) != (rec.user == "") {
		err = errNonsense
	}
	switch {
	case err == nil:
		return rec, nil
	case errors.Is(err, errEnded): // a login into another slot is under way: the old token is dead
	case errors.Is(err, errForeignFormat):
		rs.count.foreign.Add(1)
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
	msg, err := c.Do(ctx, c.B().Get().Key(rs.graceKey(at, hash)).Build())
	if err != nil {
		return err
	}
	if msg.IsNil() {
		return ErrNotFound
	}
	return nil
}

// touch notes a record's use if the last note is old enough. It returns ErrNotFound if
// the record is gone by now; a server that can't note it doesn't matter yet.
func (rs *records) touch(ctx context.Context, rec *record) error {
	age, every := rs.clock()-rec.touched, throttle(rec.idle)
	if age < every && age > -every { // a note from the future: our clock is wrong, and the touch will tell how much
		return nil
	}
	rs.before("touch")
	msg, err := rs.core.Eval(ctx, touchScript, []string{rs.index(rec.at.tag), rs.key(rec.at)}, []string{rec.at.id})
	if err != nil {
		return nil //nolint:nilerr // the load has succeeded; the next request touches again
	}
	now, err := msg.AsInt64()
	if err != nil || now == 0 {
		return ErrNotFound
	}
	rs.learn(now)
	rs.count.touched.Add(1)
	return nil
}

// made is a new session, with the secrets that exist nowhere else.
type made struct {
	record   *record
	secret   string
	remember string // token, or ""
}

// draft is a record to be written.
type draft struct {
	id, link, secret string
	kind             byte
	idle, lifetime   time.Duration
	payload          payload
}

// create begins a session, and its remember-me token if asked for, in place of an old one of the same
// slot if there is one. ErrNotFound: the old one is gone. A *staleError: it has changed.
func (rs *records) create(ctx context.Context, c creation, p payload, old *record) (*made, error) {
	if len(p.user) > maxUser {
		return nil, tooLarge("the user's name", len(p.user), maxUser)
	}
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	p.userAgent, p.address = c.userAgent, c.address
	session := draft{id: random(idSize), secret: random(secretSize), kind: kindUser, idle: c.idle, lifetime: c.lifetime, payload: p}
	tag := ""
	if p.user == "" {
		session.kind, tag = kindAnonymous, random(tagSize)
	} else {
		tag = rs.tag(p.user)
	}
	drafts, remember := []draft{session}, ""
	if c.remember && p.user != "" {
		r := draft{id: random(idSize), secret: random(secretSize), kind: kindRemember, idle: NoLimit, lifetime: rs.opt.RememberFor, link: session.id,
			payload: payload{user: p.user, userAgent: p.userAgent, address: p.address}}
		drafts[0].link = r.id
		drafts, remember = append(drafts, r), join(address{tag, r.id}, r.secret)
	}
	oldID, oldVersion := "", ""
	first := rs.key(address{tag, session.id})
	if old != nil {
		oldID, oldVersion, first = old.at.id, old.version, rs.key(old.at)
	}
	args := []string{rs.core.PublishCommand(ctx), strconv.Itoa(rs.opt.MaxPerUser), oldID, oldVersion}
	var rec *record
	for i := range drafts {
		more, r, err := rs.write(tag, &drafts[i])
		if err != nil {
			return nil, err
		}
		if args = append(args, more...); rec == nil {
			rec = r
		}
	}
	rs.before("create")
	msg, err := rs.core.Eval(ctx, createScript, []string{rs.index(tag), first}, args)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := rs.refused(old.at, msg); err != nil {
			return nil, err
		}
	}
	answer, err := msg.ToString()
	if err != nil || len(answer) < 17 {
		return nil, fault.New(fault.ErrCorrupt, errNonsense, "")
	}
	micros, _ := digits(answer[:16])
	displaced, _ := digits(answer[16:])
	rs.learn(micros / 1000)
	rec.began(micros)
	rs.count.created.Add(1)
	rs.count.displaced.Add(displaced)
	return &made{record: rec, secret: session.secret, remember: remember}, nil
}

// write turns a draft into arguments of create.lua, and into the record that they will make.
func (rs *records) write(tag string, d *draft) (args []string, rec *record, err error) {
	at, version, hash := address{tag, d.id}, newVersion(), hashOf(d.secret)
	body, err := rs.seal.seal(rs.place(at, d.kind, version, string(hash[:])), &d.payload)
	if err != nil {
		return nil, nil, err
	}
	rec = &record{at: at, kind: d.kind, version: version, link: linkTo(d.link), hash: string(hash[:]), body: body, payload: d.payload}
	idle, lifetime := limit(d.idle), limit(d.lifetime)
	rec.idle, _ = digits(idle)
	rec.deadline, _ = digits(lifetime) // relative, until began
	return []string{at.id, string(d.kind), version, idle, lifetime, rec.link, rec.hash, body}, rec, nil
}

// began sets a written record's times, as the script has set them.
func (r *record) began(micros int64) {
	r.created, r.touched = time.UnixMicro(micros), micros/1000
	if r.deadline > 0 {
		r.deadline += r.touched
	}
}

// save replaces a record's payload and, with a secret, its secret. ErrNotFound: it is gone. A
// *staleError: it has changed.
func (rs *records) save(ctx context.Context, old *record, p payload, secret string) (*record, error) {
	if err := rs.fits(&p); err != nil {
		return nil, err
	}
	next := *old
	next.version, next.payload = newVersion(), p
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
	body, err := rs.seal.seal(rs.place(next.at, next.kind, next.version, next.hash), &p)
	if err != nil {
		return nil, err
	}
	next.body = body
	rs.before("save")
	msg, err := rs.core.Eval(ctx, saveScript, keys, []string{old.version, next.version, newHash, grace, body, old.at.id})
	if err != nil {
		return nil, err
	}
	if err := rs.refused(old.at, msg); err != nil {
		return nil, err
	}
	now, err := msg.AsInt64()
	if err != nil {
		return nil, fault.New(fault.ErrCorrupt, errNonsense, "")
	}
	rs.learn(now)
	rs.count.saved.Add(1)
	next.touched = now
	return &next, nil
}

// staleError brings the record that a write met instead of the one that it knew.
type staleError struct{ now *record }

func (*staleError) Error() string { return "session: changed in between" }

// refused reads the answers that the writing scripts share: 0 for gone, the record for another version.
func (rs *records) refused(at address, msg core.Reply) error {
	if n, err := msg.ToInt64(); err == nil {
		if n == 0 {
			return ErrNotFound
		}
		return nil
	}
	raw, err := msg.ToString()
	if err != nil || len(raw) < headerLen {
		return nil // create's own answer
	}
	rec, err := rs.parse(at, raw)
	if err != nil {
		return err
	}
	rs.count.conflicts.Add(1)
	return &staleError{rec}
}

func (rs *records) fits(p *payload) error {
	if size := len(p.data) + len(p.flashes); size > rs.opt.MaxSize {
		return tooLarge("data and flash messages", size, rs.opt.MaxSize)
	}
	return nil
}

func (rs *records) before(verb string) {
	if rs.hooks.beforeWrite != nil {
		rs.hooks.beforeWrite(verb)
	}
}
