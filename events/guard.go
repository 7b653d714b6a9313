package events

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
)

// errGoexit is the failure of an attempt whose handler ended its goroutine, as t.FailNow does.
var errGoexit = errors.New("events: the handler called runtime.Goexit")

// guard calls user code and turns every way in which it can end into an error: a panic is a *PanicError, and an error
// whose value is a nil pointer or whose Error method panics is replaced by one that can be read.
//
// runtime.Goexit can't be stopped: it ends the goroutine, and the caller's deferred functions run.
func guard(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()

	if err = call(); err != nil {
		err = readable(err)
	}
	return err
}

// readable returns err, or an error in its place if err can't be asked for its text.
func readable(err error) error {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("events: the handler returned a nil %T as its error: return nil instead", err)
	}
	if _, ok := errorText(err); !ok {
		return fmt.Errorf("events: the handler returned a %T whose Error method panics", err)
	}
	return err
}

// errorText is the text of an error, which is user code.
func errorText(err error) (text string, ok bool) {
	defer func() {
		if recover() != nil {
			text, ok = "", false
		}
	}()
	return err.Error(), true
}
