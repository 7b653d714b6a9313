package core

import "github.com/redstart-go/redstart/internal/wire"

// Command is one command to the server. Read, Write, ReadAt and WriteAt make commands. A Command with one key and no
// further arguments allocates nothing.
type Command struct {
	name     string
	key      string // the first argument, if it is a key; never empty then
	args     []string
	at       string // a key or a shard channel that decides the node, where it is not the first argument
	readOnly bool
}

// Read is a command that changes nothing and whose first argument is a key: Read("GET", key). A call that loses the
// reply to it may send it again.
func Read(name, key string, args ...string) Command {
	return Command{name: name, key: key, args: args, readOnly: true}
}

// Write is a command that may change something and whose first argument is a key: Write("SET", key, value). It is never
// sent again once it may have reached the server.
func Write(name, key string, args ...string) Command {
	return Command{name: name, key: key, args: args}
}

// ReadAt is Read for a command whose first argument is not a key: ReadAt(key, "XREAD", "STREAMS", key, id). The node of
// the key at runs it; if at is empty, any node does.
func ReadAt(at, name string, args ...string) Command {
	return Command{name: name, args: args, at: at, readOnly: true}
}

// WriteAt is Write for a command whose first argument is not a key: WriteAt(channel, "SPUBLISH", channel, message).
func WriteAt(at, name string, args ...string) Command {
	return Command{name: name, args: args, at: at}
}

// addTo adds the command as it goes over the wire.
func (cmd *Command) addTo(b *wire.Buffer) { b.Command(cmd.name, cmd.key, cmd.args...) }

// Reply is what a server answered to one command.
type Reply = wire.Reply

// StreamEntry is one entry of a stream.
type StreamEntry = wire.StreamEntry

// Result is one reply of DoMulti or EvalMulti, or the error of its command alone.
type Result struct {
	reply Reply
	err   error
}

// Get takes a result apart, as Do would have returned it.
func (r Result) Get() (Reply, error) { return r.reply, r.err }
