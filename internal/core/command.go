package core

import "github.com/redstart-go/redstart/internal/wire"

// Command is one command to the server. [Read], [Write], [ReadAt] and [WriteAt] make commands. A
// Command with one key and no other arguments needs no allocation.
type Command struct {
	name string
	key  string // the first argument, if it is a key; then it is never empty
	args []string
	// the key or shard channel that selects the node, if it is not the first argument
	at       string
	readOnly bool
}

// Read returns a command that changes nothing and whose first argument is a key: Read("GET", key).
// A call may send it again after its reply was lost.
func Read(name, key string, args ...string) Command {
	return Command{name: name, key: key, args: args, readOnly: true}
}

// Write returns a command that may change data and whose first argument is a key: Write("SET", key,
// value). A call never sends it again after it may have reached the server.
func Write(name, key string, args ...string) Command {
	return Command{name: name, key: key, args: args}
}

// ReadAt is [Read] for a command whose first argument is not a key: ReadAt(key, "XREAD", "STREAMS",
// key, id). The node of the key at runs it. If at is empty, any node runs it.
func ReadAt(at, name string, args ...string) Command {
	return Command{name: name, args: args, at: at, readOnly: true}
}

// WriteAt is [Write] for a command whose first argument is not a key: WriteAt(channel, "SPUBLISH",
// channel, message).
func WriteAt(at, name string, args ...string) Command {
	return Command{name: name, args: args, at: at}
}

// addTo adds the command in its form on the wire.
func (cmd *Command) addTo(b *wire.Buffer) { b.Command(cmd.name, cmd.key, cmd.args...) }

// Reply is the answer of a server to one command.
type Reply = wire.Reply

// StreamEntry is one entry of a stream.
type StreamEntry = wire.StreamEntry

// Result is the reply to one command of [Core.DoMulti] or [Core.EvalMulti], or its error.
type Result struct {
	reply Reply
	err   error
}

// Get returns the reply and the error of the command, as [Core.Do] does.
func (r Result) Get() (Reply, error) { return r.reply, r.err }
