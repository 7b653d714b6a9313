package lock

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
)

// Kinds of what can be held; the first byte of an owner's id.
const (
	kindMutex  = 'm'
	kindAll    = 'a'
	kindPermit = 's'
	kindReader = 'r'
	kindWriter = 'w'
)

// target is what an id can hold on the server. An All has parts, the plain locks of its names.
type target struct {
	scripts *scriptSet
	kind    byte
	name    string
	state   [1]string // the first of the keys
	keys    []string  // all of them; made when they are needed, except for a Resource's target
	permits string    // of a semaphore
	parts   []*target
}

// target of a name. The user's name is data: its length is all that can be wrong with it.
func (l *Locker) target(kind byte, name string, permits int) (target, error) {
	if len(name) > MaxName {
		return target{}, fmt.Errorf("lock: the name %s is %d bytes long: at most %d", quoted(name), len(name), MaxName)
	}
	t := target{kind: kind, name: name, scripts: &mutexScripts}
	switch kind {
	case kindMutex:
		t.state[0] = l.key(name, "")
	case kindPermit:
		t.scripts, t.permits = &sharedScripts, strconv.Itoa(permits)
		t.state[0] = l.key(name, "s")
	default:
		t.scripts, t.permits = &sharedScripts, "1"
		t.state[0] = l.key(name, "r")
	}
	return t, nil
}

// each is the targets with keys of their own.
func (t *target) each() []*target {
	if t.parts != nil {
		return t.parts
	}
	return []*target{t}
}

// keys are the KEYS of the family's scripts.
func (l *Locker) keys(t *target) []string {
	if t.keys != nil {
		return t.keys
	}
	state := t.state[0]
	switch t.kind {
	case kindMutex:
		return []string{state, l.key(t.name, "q"), l.key(t.name, "w"), l.key(t.name, "p")}
	case kindPermit:
		return []string{state, l.key(t.name, "sq"), l.key(t.name, "sw"), l.key(t.name, "sh"), l.key(t.name, "sp")}
	case kindAll:
		names := make([]string, 0, 4*len(t.parts))
		for _, part := range t.parts {
			names = append(names, l.keys(part)...)
		}
		return names
	}
	return []string{state, l.key(t.name, "rq"), l.key(t.name, "rw"), l.key(t.name, "rh"), l.key(t.name, "rp")}
}

// channel is where we hear that a target was passed to us. A script may publish only in its own slot.
func (l *Locker) channel(t *target) string {
	if l.cluster {
		return l.space.Sibling(l.tag(t.name), "wake."+l.process)
	}
	return l.wakeChannel
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
func (l *Locker) newID(t *target, c *callSettings) string {
	b := make([]byte, 0, 64)
	b = append(b, t.kind)
	if c.weight > 1 {
		b = strconv.AppendInt(b, int64(c.weight), 10)
	}
	b = append(b, '.')
	b = append(b, l.process...)
	b = append(b, '.')
	return string(strconv.AppendUint(b, l.ids.Add(1), 36))
}

func (l *Locker) acquireArgs(ctx context.Context, ls *lease, queued bool, waited int64) []string {
	t, c := ls.target, ls.settings
	args := make([]string, 8, 9)
	args[0], args[1], args[2], args[3] = ls.id, c.ttlArg, retentionArg, "0"
	args[4], args[5], args[6], args[7] = l.channel(t), "0", c.grantArg, l.core.PublishCommand(ctx)
	if queued {
		args[3] = aliveForArg
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
	publish := l.core.PublishCommand(context.Background()) // never waits: an acquire was sent, so the server is known
	args := []string{id, strconv.FormatInt(token, 10), retentionArg, publish}
	if t.permits != "" {
		args = append(args, t.permits)
	}
	return core.Call{Keys: l.keys(t), Args: args}
}

// renewKeys are the KEYS of the family's renewal.
func (l *Locker) renewKeys(t *target) []string {
	if t.scripts == &sharedScripts {
		return l.keys(t)
	}
	names := make([]string, 0, len(t.parts)+1)
	for _, part := range t.each() {
		names = append(names, part.state[0])
	}
	return names
}

// node is where a target lives, for grouping calls. Not exact while slots move.
func (l *Locker) node(t *target) string {
	addr, _ := l.core.Owner(keys.Slot(t.state[0]))
	return addr
}
