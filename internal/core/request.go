package core

import (
	"cmp"

	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/internal/wire"
)

// request is one command, or a run of a script.
type request struct {
	Command
	script *script.Script // if not nil, the run takes keys, and args and readOnly from Command
	keys   []string
	slot   int  // -1 if any node may run it
	source bool // EVAL instead of EVALSHA: the server does not know the script
	asking bool // ASKING goes before it: the slot is being moved

	// What became of earlier tries.
	to       *node // a node that the cluster named
	hops     int
	lost     bool // the last try was lost, and another repeats nothing
	repeated bool // it was lost before
}

// request is a command on its way. The slot matters in a cluster alone.
func (c *Core) request(cmd Command) request {
	r := request{Command: cmd, slot: -1}
	if c.cluster() {
		if at := cmp.Or(cmd.key, cmd.at); at != "" {
			r.slot = int(keys.Slot(at))
		}
	}
	return r
}

// plain is a command of the connection layer itself.
func plain(name string, args ...string) request {
	return request{Command: Command{name: name, args: args}, slot: -1}
}

// scripted is a run of a script. cluster says whether the slot matters.
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

// replies is how many replies the request gets.
func (r *request) replies() int {
	if r.asking {
		return 2
	}
	return 1
}

// addTo adds the request as it goes over the wire.
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
