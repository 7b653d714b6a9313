package events

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
)

// errGoexit is the error of an attempt whose handler ended its goroutine, as t.FailNow does.
var errGoexit = errors.New("events: the handler called runtime.Goexit")

// guard calls user code and returns its error. A panic becomes a *PanicError. An error that is a
// nil pointer, or whose Error method panics, is replaced by a readable error.
//
// guard can't stop runtime.Goexit. It ends the goroutine, and the deferred functions of the callers
// run.
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

// readable returns err, or a replacement if the text of err can't be read.
func readable(err error) error {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("events: the handler returned a nil %T as its error: return nil instead", err)
	}
	if _, ok := errorText(err); !ok {
		return fmt.Errorf("events: the handler returned a %T whose Error method panics", err)
	}
	return err
}

// errorText returns the text of an error. The Error method is user code.
func errorText(err error) (text string, ok bool) {
	defer func() {
		if recover() != nil {
			text, ok = "", false
		}
	}()
	return err.Error(), true
}
