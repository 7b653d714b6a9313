package embedded

import (
	"math"
	"strconv"

	lua "github.com/yuin/gopher-lua"
)

// newState returns an interpreter with the libraries of Redis. Its scripts can't create globals.
func (s *scripts) newState() *lua.LState {
	l := lua.NewState(lua.Options{SkipOpenLibs: true, RegistrySize: 1024 * 8, RegistryMaxSize: 1024 * 1024})
	l.SetContext(&s.budget)
	for _, lib := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable},
		{lua.StringLibName, lua.OpenString}, {lua.MathLibName, lua.OpenMath},
	} {
		l.Push(l.NewFunction(lib.open))
		l.Push(lua.LString(lib.name))
		l.Call(1, 0)
	}
	for _, name := range []string{"dofile", "loadfile", "print", "collectgarbage", "module", "require", "newproxy", "_printregs"} {
		l.SetGlobal(name, lua.LNil)
	}

	boundRepeat(l)

	redis := l.NewTable()
	for name, function := range map[string]lua.LGFunction{
		"call":               func(l *lua.LState) int { return s.call(l, true) },
		"pcall":              func(l *lua.LState) int { return s.call(l, false) },
		"error_reply":        func(l *lua.LState) int { return reply(l, "err") },
		"status_reply":       func(l *lua.LState) int { return reply(l, "ok") },
		"sha1hex":            func(l *lua.LState) int { l.Push(lua.LString(sha(l.CheckString(1)))); return 1 },
		"log":                func(*lua.LState) int { return 0 },
		"setresp":            func(*lua.LState) int { return 0 },
		"set_repl":           func(*lua.LState) int { return 0 },
		"replicate_commands": func(l *lua.LState) int { l.Push(lua.LTrue); return 1 },
	} {
		redis.RawSetString(name, l.NewFunction(function))
	}
	for i, name := range []string{"LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"} {
		redis.RawSetString(name, lua.LNumber(i))
	}
	l.SetGlobal("redis", redis)
	l.SetGlobal("cjson", cjson(l))
	l.SetGlobal("struct", structLibrary(l))

	guard := l.NewTable()
	guard.RawSetString("__newindex", l.NewFunction(func(l *lua.LState) int {
		l.RaiseError("Attempt to modify a readonly table: script attempted to create global variable '%s'", l.CheckAny(2).String())
		return 0
	}))
	guard.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		l.RaiseError("Script attempted to access nonexistent global variable '%s'", l.CheckAny(2).String())
		return 0
	}))
	l.G.Global.RawSetString("KEYS", l.NewTable())
	l.G.Global.RawSetString("ARGV", l.NewTable())
	l.G.Global.Metatable = guard
	return l
}

// boundRepeat limits string.rep. A time limit can't end it, because it is one instruction.
func boundRepeat(l *lua.LState) {
	library := l.GetGlobal(lua.StringLibName).(*lua.LTable)
	repeat := library.RawGetString("rep").(*lua.LFunction).GFunction
	library.RawSetString("rep", l.NewFunction(func(l *lua.LState) int {
		if text, n := l.CheckString(1), l.CheckInt(2); len(text) > 0 && n > maxRepeat/len(text) {
			l.RaiseError("resulting string too large")
		}
		return repeat(l)
	}))
}

// reply is redis.error_reply and redis.status_reply.
func reply(l *lua.LState, field string) int {
	text := l.CheckString(1)
	if field == "err" && (text == "" || text[0] == '-') {
		text = text[min(1, len(text)):]
	}
	t := l.NewTable()
	t.RawSetString(field, lua.LString(text))
	l.Push(t)
	return 1
}

// call is redis.call and redis.pcall.
func (s *scripts) call(l *lua.LState, raises bool) int {
	answer := s.command(l)
	if failed, is := answer.(failure); is {
		t := l.NewTable()
		t.RawSetString("err", lua.LString(failed))
		if raises {
			l.Error(t, 0)
		}
		l.Push(t)
		return 1
	}
	l.Push(toLua(l, answer))
	return 1
}

func (s *scripts) command(l *lua.LState) any {
	n := l.GetTop()
	if n == 0 {
		return failure("ERR Please specify at least one argument for this redis.call() call")
	}
	args := make([]string, n)
	for i := range args {
		switch v := l.Get(i + 1).(type) {
		case lua.LString:
			args[i] = string(v)
		case lua.LNumber:
			args[i] = formatNumber(float64(v))
		default:
			return failure("ERR Lua redis lib command arguments must be strings or integers")
		}
	}
	name := upper(args[0])
	known := s.server.table[name]
	switch {
	case known == nil:
		return failure("ERR Unknown Redis command called from script")
	case !known.takes(n):
		return failure("ERR Wrong number of args calling Redis command from script")
	case known.plain || name == "EVAL" || name == "EVALSHA":
		return failure("ERR This Redis command is not allowed from script")
	case known.writes && s.readOnly:
		return failure("ERR Write commands are not allowed from read-only scripts.")
	}
	if known.writes {
		s.budget.writes()
	}
	s.budget.look() // one command may take as long as many instructions
	outer := s.running
	inner := &call{
		server: s.server, conn: outer.conn, space: outer.space, name: name, args: args[1:], script: true, command: known,
	}
	if s.touches != nil {
		s.touches.Touch(inner.keys())
	}
	return s.server.run(inner)
}

// formatNumber writes a number as Redis passes it to a command: %.17g.
func formatNumber(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e17 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

// toLua converts a reply for a script: RESP2, where a null is false.
func toLua(l *lua.LState, answer any) lua.LValue {
	switch v := answer.(type) {
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LString(formatFloat(v))
	case status:
		t := l.NewTable()
		t.RawSetString("ok", lua.LString(v))
		return t
	case failure:
		t := l.NewTable()
		t.RawSetString("err", lua.LString(v))
		return t
	case []string:
		return stringTable(l, v)
	case []any:
		return listToLua(l, v)
	case pairs:
		return listToLua(l, v)
	case push:
		return listToLua(l, v)
	}
	return lua.LFalse
}

func listToLua(l *lua.LState, all []any) lua.LValue {
	t := l.CreateTable(len(all), 0)
	for i, one := range all {
		t.RawSetInt(i+1, toLua(l, one))
	}
	return t
}

// fromLua converts the result of a script into a reply. Numbers lose their fraction, and a table
// ends at its first nil.
func fromLua(v lua.LValue, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := v.(type) {
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		return int64(v), nil
	case lua.LBool:
		if bool(v) {
			return int64(1), nil
		}
	case *lua.LTable:
		if text, is := v.RawGetString("err").(lua.LString); is {
			return failure(text), nil
		}
		if text, is := v.RawGetString("ok").(lua.LString); is {
			return status(text), nil
		}
		all := []any{}
		for i := 1; ; i++ {
			item := v.RawGetInt(i)
			if item == lua.LNil {
				return all, nil
			}
			reply, err := fromLua(item, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, reply)
		}
	}
	return nil, nil
}
