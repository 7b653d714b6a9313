package lock

import (
	"fmt"
	"strconv"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
)

// Kinds of what can be held; the first byte of an owner's id.
const (
	alone  = 'm'
	permit = 's'
	reader = 'r'
	writer = 'w'
)

// target is one thing on the server that an id can hold.
type target struct {
	family  *family
	kind    byte
	name    string
	keys    []string // KEYS of the family's scripts
	channel string   // where we hear that it was passed to us
	permits string   // of a semaphore
}

// target of a name. The user's name is data: its length is all that can be wrong with it.
func (l *Locker) target(kind byte, name string, permits int) (*target, error) {
	if len(name) > MaxName {
		return nil, fmt.Errorf("lock: the name %s is %d bytes long: at most %d", shown(name), len(name), MaxName)
	}
	t := &target{kind: kind, name: name, family: &mutex, channel: l.channel}
	switch kind {
	case alone:
		t.keys = []string{l.key(name, ""), l.key(name, "q"), l.key(name, "w")}
	case permit:
		t.family, t.permits = &shared, strconv.Itoa(permits)
		t.keys = []string{l.key(name, "s"), l.key(name, "sq"), l.key(name, "sw"), l.key(name, "sh")}
	default:
		t.family, t.permits = &shared, "1"
		t.keys = []string{l.key(name, "r"), l.key(name, "rq"), l.key(name, "rw"), l.key(name, "rh")}
	}
	if l.cluster {
		// A script may publish only in its own slot.
		t.channel = l.space.Sibling(l.tag(name), "wake."+l.process)
	}
	return t, nil
}

// key of a part of a lock. All parts share a slot. In a group that slot is the group's, and the
// name is in the suffix, behind a part that has no colon: no two are the same.
func (l *Locker) key(name, part string) string {
	switch {
	case l.opt.Group != "":
		return l.space.Sibling(l.opt.Group, part+":"+name)
	case part == "":
		return l.space.Key(name)
	}
	return l.space.Sibling(name, part)
}

func (l *Locker) tag(name string) string {
	if l.opt.Group != "" {
		return l.opt.Group
	}
	return name
}

// newID is an owner: one acquisition of one process.
func (l *Locker) newID(kind byte) string {
	b := make([]byte, 0, 32)
	b = append(b, kind, '.')
	b = append(b, l.process...)
	b = append(b, '.')
	return string(strconv.AppendUint(b, l.ids.Add(1), 36))
}

func (l *Locker) acquireArgs(t *target, id string, queued bool, waited int64) []string {
	args := make([]string, 8, 9)
	args[0], args[1], args[2], args[3] = id, l.args.ttl, l.args.retention, "0"
	args[4], args[5], args[6], args[7] = t.channel, "0", l.args.grant, l.core.PublishCommand()
	if queued {
		args[3] = l.args.alive
	}
	if waited > 0 {
		args[5] = strconv.FormatInt(waited, 10)
	}
	if t.permits != "" {
		args = append(args, t.permits)
	}
	return args
}

func (l *Locker) releaseCall(t *target, id string, token int64) core.Call {
	args := []string{id, strconv.FormatInt(token, 10), l.args.retention, l.args.grant, l.core.PublishCommand()}
	if t.permits != "" {
		args = append(args, t.permits)
	}
	return core.Call{Keys: t.keys, Args: args}
}

func (l *Locker) renewCall(t *target, id string) core.Call {
	return core.Call{Keys: t.keys, Args: []string{id, l.args.ttl, l.args.retention}}
}

// node is where a target lives, for grouping calls. Not exact while slots move.
func (l *Locker) node(t *target) string {
	addr, _ := l.core.Owner(keys.Slot(t.keys[0]))
	return addr
}
