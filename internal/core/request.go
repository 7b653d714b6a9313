package core

import (
	"cmp"

	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/internal/wire"
)

// request is one command, or one run of a script.
type request struct {
	Command
	script *script.Script // if not nil, a run: it uses keys, and args and readOnly of Command
	keys   []string
	slot   int  // -1 if any node may run it
	source bool // send EVAL instead of EVALSHA, because the server does not have the script
	asking bool // send ASKING first, because the slot is being moved
	awaits bool // the caller waits for a push after the reply

	// The results of earlier tries.
	to       *node // the node that the cluster named
	hops     int
	lost     bool // the last try was lost, and another try repeats nothing
	repeated bool // a try was lost before
}

// request returns the request for a command. The slot matters only in a cluster.
func (c *Core) request(cmd Command) request {
	r := request{Command: cmd, slot: -1}
	if c.cluster() {
		if at := cmp.Or(cmd.key, cmd.at); at != "" {
			r.slot = int(keys.Slot(at))
		}
	}
	return r
}

// plain returns a request of the call layer itself.
func plain(name string, args ...string) request {
	return request{Command: Command{name: name, args: args}, slot: -1}
}

// scripted returns the request for a run of a script. cluster reports whether the slot matters.
func scripted(s *script.Script, names, args []string, cluster bool) request {
	r := request{Command: Command{args: args, readOnly: s.IsReadOnly()}, script: s, slot: -1, keys: names}
	if cluster && len(names) > 0 {
		r.slot = int(keys.Slot(names[0]))
		for _, name := range names[1:] {
			if int(keys.Slot(name)) != r.slot {
				panic("redstart: the keys of one script are in two slots") // a fault in the pattern (A4)
			}
		}
	}
	return r
}

// replies returns the number of replies to the request.
func (r *request) replies() int {
	if r.asking {
		return 2
	}
	return 1
}

// addTo adds the request in its form on the wire.
func (r *request) addTo(b *wire.Buffer) {
	if r.asking {
		b.Command("ASKING", "")
	}
	switch {
	case r.script == nil:
		r.Command.addTo(b)
	case r.source:
		b.Script("EVAL", r.script.Source(), r.keys, r.args)
	default:
		b.Script("EVALSHA", r.script.Digest(), r.keys, r.args)
	}
}
