package embedded

import (
	"fmt"
	"strings"
	"time"
)

// command is a row of the command table.
type command struct {
	run    func(*call) any
	args   int  // number of arguments with the command's name; negative: the minimum
	writes bool // changes keys
	reads  bool // reads keys: a tracked connection receives a push when they change
	// The positions of the keys, as in COMMAND: first, last (negative: from the end), step. If
	// first is 0, there are no keys, or the function keys returns them.
	first, last, step int
	plain             bool // not queued by MULTI, not allowed in scripts
}

// call is one execution of a command.
type call struct {
	server  *Server
	conn    *conn // the connection that sent the command, also inside a script
	space   *keyspace
	name    string
	args    []string // without the name
	script  bool     // inside EVAL
	queued  bool     // inside EXEC
	command *command
}

// now returns the server's time in microseconds since 1970.
func (c *call) now() int64 { return c.server.clock.now }

// touched records that the command has changed a key.
func (c *call) touched(key string) { c.server.touched(c.space, key, c.conn) }

// execute runs a command of a connection. The result false ends the connection.
func (s *Server) execute(c *conn, args []string) (stays bool) {
	if len(args) == 2 && upper(args[0]) == "SCRIPT" && upper(args[1]) == "KILL" && !c.transaction.open {
		if reply, busy := s.killScript(c); busy {
			c.send(reply)
			return true
		}
	} else {
		s.mu.Lock()
	}
	for c.waits != nil { // a command waits for the blocking command before it
		waiting := c.waits.done
		s.mu.Unlock()
		<-waiting
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	name := strings.ToUpper(args[0])
	defer func() {
		if cause := recover(); cause != nil { // a defect of this package: other connections continue
			c.send(failure(fmt.Sprintf("ERR the embedded engine panicked in %.128s: %.512v", name, cause)))
			stays = true
		}
	}()
	s.begin()
	s.commands++

	reply, stays := s.answer(c, name, args[1:])
	c.send(reply)
	c.last = c.waits
	s.settle()
	return stays
}

// killScript ends the running script, which has the server's lock. If no script runs, busy is false
// and the caller has the lock.
func (s *Server) killScript(c *conn) (reply any, busy bool) {
	if c.last != nil {
		<-c.last.done // its reply comes first
	}
	for !s.mu.TryLock() {
		if reply, busy = s.scripts.budget.kill(); busy {
			return reply, true
		}
		time.Sleep(time.Millisecond) // another command has the lock
	}
	return nil, false
}

func (s *Server) answer(c *conn, name string, args []string) (reply any, stays bool) {
	known := s.table[name]
	switch {
	case known == nil:
		c.transaction.fail()
		return unknownCommand(name, args), true
	case !known.takes(len(args) + 1):
		c.transaction.fail()
		return wrongCount(name), true
	case name == "QUIT":
		return ok, false
	case c.proto == 2 && c.subscribed.any() && !inSubscribedMode[name]:
		return failure(fmt.Sprintf("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "+
			"are allowed in this context", strings.ToLower(name))), true
	case c.transaction.open && !known.plain:
		c.transaction.queue = append(c.transaction.queue, queued{name, args})
		return status("QUEUED"), true
	}
	return s.run(&call{server: s, conn: c, space: s.spaces[c.space], name: name, args: args, command: known}), true
}

// run executes a command whose number of arguments is right. It records the keys that a tracked
// connection has read.
func (s *Server) run(c *call) any {
	reply := c.command.run(c)
	if _, failed := reply.(failure); c.command.reads && !failed {
		for _, key := range c.keys() {
			s.tracking.remember(key, c.conn)
		}
	}
	if !c.script && c.name != "CLIENT" {
		c.conn.tracked.caching = nil // it is for one command
	}
	return reply
}

// keys returns the keys of the call, by the command table.
func (c *call) keys() []string {
	if c.name == "XREAD" || c.name == "XREADGROUP" {
		streams, _ := afterStreams(c.args)
		return streams
	}
	if c.command.first == 0 {
		return nil
	}
	last := c.command.last - 1
	if last < 0 {
		last = len(c.args) + c.command.last
	}
	var keys []string
	for i := c.command.first - 1; i <= last && i < len(c.args); i += c.command.step {
		keys = append(keys, c.args[i])
	}
	return keys
}

func (c *command) takes(n int) bool {
	if c.args < 0 {
		return n >= -c.args
	}
	return n == c.args
}

func unknownCommand(name string, args []string) failure {
	var text strings.Builder
	for _, arg := range args[:min(len(args), 8)] {
		fmt.Fprintf(&text, "'%.64s' ", arg)
	}
	return failure(fmt.Sprintf("ERR unknown command '%.128s', with args beginning with: %s", name, text.String()))
}

func wrongCount(name string) failure {
	return failure("ERR wrong number of arguments for '" + strings.ToLower(name) + "' command")
}

var inSubscribedMode = map[string]bool{
	"SUBSCRIBE": true, "UNSUBSCRIBE": true, "PSUBSCRIBE": true, "PUNSUBSCRIBE": true, "SSUBSCRIBE": true, "SUNSUBSCRIBE": true,
	"PING": true, "QUIT": true, "RESET": true,
}

// reader and writer return rows for commands with one key, the usual form.
func reader(args int, run func(*call) any) *command {
	return &command{run: run, args: args, reads: true, first: 1, last: 1, step: 1}
}

func writer(args int, run func(*call) any) *command {
	return &command{run: run, args: args, writes: true, first: 1, last: 1, step: 1}
}

func plain(args int, run func(*call) any) *command {
	return &command{run: run, args: args, plain: true}
}

func keyless(args int, run func(*call) any) *command { return &command{run: run, args: args} }

// newTable returns all commands.
func newTable() map[string]*command {
	table := map[string]*command{}
	for _, commands := range []map[string]*command{
		connectionCommands(), keyCommands(), stringCommands(), hashCommands(), setCommands(), sortedSetCommands(), listCommands(),
		streamCommands(), groupCommands(), channelCommands(), scriptCommands(), transactionCommands(),
	} {
		for name, command := range commands {
			table[name] = command
		}
	}
	return table
}
