package flight

import (
	"context"
	"runtime/debug"
)

// Do runs fn for key, unless a load is running, and waits for the result.
func (g *Group[K, V]) Do(ctx context.Context, key K, fn func(ctx context.Context) (V, error)) (v V, shared bool, err error) {
	if err := ctx.Err(); err != nil {
		return v, false, err
	}
	claim, begun := g.Join(ctx, key, false)
	if claim == nil {
		return v, false, ErrClosed
	}
	if begun {
		go run(claim, fn)
	}
	return claim.Wait(ctx)
}

// run finishes the claim, however fn ends.
func run[K comparable, V any](claim *Claim[K, V], fn func(ctx context.Context) (V, error)) {
	var v V
	var err error = ErrGoexit
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *PanicError:
			err = p
		default:
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		claim.Finish(v, err)
	}()
	v, err = fn(claim.Context())
}
