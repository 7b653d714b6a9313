package embedded

import (
	"encoding/json"
	"errors"
	"math"
	"slices"

	lua "github.com/yuin/gopher-lua"
)

const maxDepth = 1000 // as in Redis

var errDepth = errors.New("excessive nesting")

// cjson is the Lua library cjson: a table with the keys 1…n is an array, and cjson.null is null.
func cjson(l *lua.LState) *lua.LTable {
	null := l.NewUserData()
	library := l.NewTable()
	library.RawSetString("null", null)
	library.RawSetString("encode", l.NewFunction(func(l *lua.LState) int {
		v, err := toJSON(l.CheckAny(1), null, 0)
		if err == nil {
			var text []byte
			if text, err = json.Marshal(v); err == nil {
				l.Push(lua.LString(text))
				return 1
			}
		}
		l.RaiseError("Cannot serialise: %s", err.Error())
		return 0
	}))
	library.RawSetString("decode", l.NewFunction(func(l *lua.LState) int {
		var v any
		if err := json.Unmarshal([]byte(l.CheckString(1)), &v); err != nil {
			l.RaiseError("%s", err.Error())
		}
		l.Push(fromJSON(l, v, null))
		return 1
	}))
	return library
}

func toJSON(v lua.LValue, null *lua.LUserData, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := v.(type) {
	case lua.LBool:
		return bool(v), nil
	case lua.LNumber:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errors.New("number must not be NaN or Inf")
		}
		return json.Number(formatJSONNumber(float64(v))), nil
	case lua.LString:
		return string(v), nil
	case *lua.LUserData:
		if v == null {
			return nil, nil
		}
	case *lua.LTable:
		return tableToJSON(v, null, depth)
	case *lua.LNilType:
		return nil, nil
	}
	return nil, errors.New("type not supported: " + v.Type().String())
}

func tableToJSON(t *lua.LTable, null *lua.LUserData, depth int) (any, error) {
	n := t.Len()
	object := map[string]any{}
	list := make([]any, 0, n)
	count := 0
	for key, item := t.Next(lua.LNil); key != lua.LNil; key, item = t.Next(key) {
		count++
		v, err := toJSON(item, null, depth+1)
		if err != nil {
			return nil, err // at once: a table may contain itself twice
		}
		object[key.String()] = v
	}
	if n == 0 || count != n {
		return object, nil
	}
	for i := range n {
		list = append(list, object[lua.LNumber(i+1).String()])
	}
	return slices.Clip(list), nil
}

func formatJSONNumber(f float64) string {
	text, err := json.Marshal(f)
	if err != nil {
		return "0" // NaN and Inf were refused before
	}
	return string(text)
}

func fromJSON(l *lua.LState, v any, null *lua.LUserData) lua.LValue {
	switch v := v.(type) {
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		t := l.CreateTable(len(v), 0)
		for i, one := range v {
			t.RawSetInt(i+1, fromJSON(l, one, null))
		}
		return t
	case map[string]any:
		t := l.CreateTable(0, len(v))
		for name, one := range v {
			t.RawSetString(name, fromJSON(l, one, null))
		}
		return t
	}
	return null
}
