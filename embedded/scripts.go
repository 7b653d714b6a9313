package embedded

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	scriptkeys "github.com/redstart-go/redstart/internal/script"
)

// maxScripts limits the number of compiled scripts. Beyond it the server forgets all scripts, and
// clients send the text again.
const maxScripts = 10_000

// scripts runs Lua. One interpreter is enough, because one command runs at a time. Each script is
// compiled once.
type scripts struct {
	server   *Server
	state    *lua.LState
	compiled map[string]*lua.FunctionProto
	running  *call // the EVAL that runs
	budget   budget
	readOnly bool

	recorder *scriptkeys.Recorder // of a test, or nil
	touches  *scriptkeys.Run      // of the EVAL that runs; nil without a recorder
}

func (s *scripts) init(server *Server) {
	s.server = server
	s.compiled = map[string]*lua.FunctionProto{}
	s.budget.Context = context.Background()
}

func scriptCommands() map[string]*command {
	return map[string]*command{
		"EVAL":       keyless(-3, func(c *call) any { return eval(c, false) }),
		"EVAL_RO":    keyless(-3, func(c *call) any { return eval(c, true) }),
		"EVALSHA":    keyless(-3, func(c *call) any { return evalsha(c, false) }),
		"EVALSHA_RO": keyless(-3, func(c *call) any { return evalsha(c, true) }),
		"SCRIPT":     keyless(-2, script),
	}
}

func sha(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func script(c *call) any {
	s := &c.server.scripts
	switch upper(c.args[0]) {
	case "LOAD":
		if len(c.args) != 2 {
			return wrongCount(c.name)
		}
		if _, err := s.load(c.args[1]); err != nil {
			return err
		}
		return sha(c.args[1])
	case "EXISTS":
		found := []any{}
		for _, one := range c.args[1:] {
			found = append(found, number(s.compiled[lower(one)] != nil))
		}
		return found
	case "FLUSH":
		clear(s.compiled)
		return ok
	case "KILL":
		return failure("NOTBUSY No scripts in execution right now.")
	}
	return unknownSubcommand(c)
}

func eval(c *call, readOnly bool) any {
	proto, err := c.server.scripts.load(c.args[0])
	if err != nil {
		return err
	}
	return c.server.scripts.run(c, proto, sha(c.args[0]), readOnly)
}

func evalsha(c *call, readOnly bool) any {
	digest := lower(c.args[0])
	proto := c.server.scripts.compiled[digest]
	if proto == nil {
		return failure("NOSCRIPT No matching script. Please use EVAL.")
	}
	return c.server.scripts.run(c, proto, digest, readOnly)
}

func (s *scripts) load(text string) (*lua.FunctionProto, any) {
	digest := sha(text)
	if proto := s.compiled[digest]; proto != nil {
		return proto, nil
	}
	body := text
	if strings.HasPrefix(body, "#!") { // #!lua flags=…: flags have no effect here
		line, rest, _ := strings.Cut(body, "\n")
		if !strings.HasPrefix(line, "#!lua") {
			return nil, failure("ERR Unexpected engine in script shebang: " + strings.TrimPrefix(line, "#!"))
		}
		body = "\n" + rest
	}
	chunk, err := parse.Parse(strings.NewReader(body), "user_script")
	if err != nil {
		return nil, failure("ERR Error compiling script (new function): " + err.Error())
	}
	proto, err := lua.Compile(chunk, "user_script")
	if err != nil {
		return nil, failure("ERR Error compiling script (new function): " + err.Error())
	}
	if len(s.compiled) >= maxScripts {
		clear(s.compiled)
	}
	s.compiled[digest] = proto
	s.recorder.Loaded(digest, text)
	return proto, nil
}

// run executes a script. Its keys and arguments are the globals KEYS and ARGV.
func (s *scripts) run(c *call, proto *lua.FunctionProto, digest string, readOnly bool) any {
	n, err := strconv.Atoi(c.args[1])
	switch {
	case err != nil:
		return notInteger
	case n < 0:
		return failure("ERR Number of keys can't be negative")
	case n > len(c.args)-2:
		return failure("ERR Number of keys can't be greater than number of args")
	case c.script:
		return failure("ERR This Redis command is not allowed from script")
	}
	l := s.state
	if l == nil {
		l = s.newState()
	}
	s.state = nil // a script that fails may leave values on the stacks
	s.budget.begin()
	defer s.budget.end()
	s.running, s.readOnly, s.server.tracking.inScript = c, readOnly, true
	s.touches = s.recorder.Run(digest, c.args[2:2+n])
	defer func() { s.running, s.touches, s.server.tracking.inScript = nil, nil, false }()
	globals := l.G.Global
	globals.RawSetString("KEYS", stringTable(l, c.args[2:2+n]))
	globals.RawSetString("ARGV", stringTable(l, c.args[2+n:]))

	top := l.GetTop()
	l.Push(l.NewFunctionFromProto(proto))
	if err := l.PCall(0, 1, nil); err != nil {
		return scriptFailure(err, digest)
	}
	reply, err := fromLua(l.Get(-1), 0)
	if err != nil {
		return failure("ERR " + err.Error())
	}
	l.SetTop(top)
	s.state = l
	return reply
}

// scriptFailure returns the error of a script. The error of a command keeps its code.
func scriptFailure(err error, digest string) failure {
	raised, is := err.(*lua.ApiError)
	if !is {
		return failure("ERR " + err.Error())
	}
	text := strings.TrimSpace(strings.SplitN(raised.Object.String(), "\n", 2)[0])
	if table, is := raised.Object.(*lua.LTable); is {
		text = table.RawGetString("err").String()
	} else {
		text = "ERR " + text
	}
	return failure(fmt.Sprintf("%s script: %s, on @user_script.", text, digest))
}

func stringTable(l *lua.LState, all []string) *lua.LTable {
	t := l.CreateTable(len(all), 0)
	for _, one := range all {
		t.Append(lua.LString(one))
	}
	return t
}
