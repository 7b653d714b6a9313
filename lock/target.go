package lock

import (
	"context"
	"strconv"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/keys"
)

// The kinds of targets. The kind is the first byte of an owner's id.
const (
	kindMutex  = 'm'
	kindAll    = 'a'
	kindPermit = 's'
	kindReader = 'r'
	kindWriter = 'w'
)

// target is what an acquisition acquires: a mutex, permits of a semaphore, or a side of a
// read-write lock. The target of an All has parts, the mutexes of its names.
type target struct {
	scripts *scriptSet
	kind    byte
	name    string
	state   [1]string // the first key
	keys    []string  // all keys; nil if they are built on use
	permits string    // number of permits, as an argument of the scripts
	parts   []*target
}

// target returns the target of a name. The only invalid name is one that is too long.
func (l *Locker) target(kind byte, name string, permits int) (target, error) {
	if len(name) > MaxName {
		return target{}, tooLong("name", name)
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

// each returns the targets that have keys.
func (t *target) each() []*target {
	if t.parts != nil {
		return t.parts
	}
	return []*target{t}
}

// keys returns the KEYS of the target's scripts.
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

// channel returns the channel of the notifications for a target. In a cluster, a script may publish
// only in its own slot.
func (l *Locker) channel(t *target) string {
	if l.cluster {
		return l.space.Sibling(l.tag(t.name), "wake."+l.process)
	}
	return l.wakeChannel
}

// key returns the key of one part of a lock. All parts of a lock share a slot. In a group, the slot
// belongs to the group, and the suffix contains the name after a part without a colon. So no two
// keys are equal.
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

// newID returns the id of an owner: one acquisition of one process.
func (l *Locker) newID(t *target, s *callSettings) string {
	b := make([]byte, 0, 64)
	b = append(b, t.kind)
	if s.permits > 1 {
		b = strconv.AppendInt(b, int64(s.permits), 10)
	}
	b = append(b, '.')
	b = append(b, l.process...)
	b = append(b, '.')
	return string(strconv.AppendUint(b, l.ids.Add(1), 36))
}

func (l *Locker) acquireArgs(ctx context.Context, ls *lease, queued bool, waited int64) []string {
	t, s := ls.target, ls.settings
	args := make([]string, 8, 9)
	args[0], args[1], args[2], args[3] = ls.id, s.ttlArg, retentionArg, "0"
	args[4], args[5], args[6], args[7] = l.channel(t), "0", s.grantArg, l.core.PublishCommand(ctx)
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
	// does not wait: the server's version is known since the acquire
	publish := l.core.PublishCommand(context.Background())
	args := []string{id, strconv.FormatInt(token, 10), retentionArg, publish}
	if t.permits != "" {
		args = append(args, t.permits)
	}
	return core.Call{Keys: l.keys(t), Args: args}
}

// renewKeys returns the KEYS of the target's renewal script.
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

// node returns the node of a target, to group calls. It may be wrong while slots move.
func (l *Locker) node(t *target) string {
	addr, _ := l.core.Owner(keys.Slot(t.state[0]))
	return addr
}
