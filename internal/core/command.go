package core

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

// appendTo appends the command as it goes over the wire.
func (cmd *Command) appendTo(b []byte) []byte {
	words := 1 + len(cmd.args)
	if cmd.key != "" {
		words++
	}
	b = appendWord(appendHead(b, words), cmd.name)
	if cmd.key != "" {
		b = appendWord(b, cmd.key)
	}
	for _, arg := range cmd.args {
		b = appendWord(b, arg)
	}
	return b
}
