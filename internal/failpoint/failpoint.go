// Package failpoint names points in the code at which a test may act: hold a call between two of
// its steps, make a step fail, shorten a duration, or check a state. Nothing but a test can arm a
// point: the set belongs to one object, and no option or variable reaches it.
package failpoint

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Points are the points of one object. The zero value is off: each point then costs one load and a
// comparison with nil. A nil *Points is always off.
type Points struct {
	armed atomic.Pointer[map[string]any] // point to Action or Look; never changed: replaced
	mu    sync.Mutex                     // of who replaces it
}

// Action is what happens at a point. The key says what the call is about: a key, a verb, or
// nothing. A test may block in it.
type Action func(key string) error

// Look checks objects of the code at a point, under the locks that are held there.
type Look func(objects ...any)

// On reports whether any point is armed.
func (p *Points) On() bool { return p != nil && p.armed.Load() != nil }

// Hold is a point that can't fail. An action that returns an error there panics, since the error
// would be lost.
func (p *Points) Hold(point, key string) {
	if p.On() {
		p.hold(point, key)
	}
}

func (p *Points) hold(point, key string) {
	if err := p.act(point, key); err != nil {
		panic(fmt.Sprintf("failpoint: %s can't fail: %v", point, err))
	}
}

// Fail is a point at which a step can fail. Its error is the action's.
func (p *Points) Fail(point, key string) error {
	if !p.On() {
		return nil
	}
	return p.act(point, key)
}

func (p *Points) act(point, key string) error {
	if action, ok := p.at(point).(Action); ok {
		return action(key)
	}
	return nil
}

// at is what is armed at a point, nil for nothing.
func (p *Points) at(point string) any {
	if armed := p.armed.Load(); armed != nil {
		return (*armed)[point]
	}
	return nil
}

// Show is a point at which a test may look at objects. Call it if On: its arguments cost an
// allocation.
func (p *Points) Show(point string, objects ...any) {
	if look, ok := p.at(point).(Look); ok {
		look(objects...)
	}
}

// Duration is d, unless the point is armed with [Lasts].
func (p *Points) Duration(point string, d time.Duration) time.Duration {
	if shorter, ok := p.Fail(point, "").(lasts); ok {
		return time.Duration(shorter)
	}
	return d
}

// Lasts replaces the duration of a point by d.
func Lasts(d time.Duration) Action { return func(string) error { return lasts(d) } }

type lasts time.Duration

func (l lasts) Error() string { return "lasts " + time.Duration(l).String() }

// Arm sets the action of a point, in place of an earlier one. Tests call it through rig.Arm, which
// disarms the point with the test.
func (p *Points) Arm(point string, action Action) (disarm func()) { return p.arm(point, action) }

// ArmLook sets who looks at a point.
func (p *Points) ArmLook(point string, look Look) (disarm func()) { return p.arm(point, look) }

func (p *Points) arm(point string, action any) (disarm func()) {
	p.replace(point, action)
	return func() { p.replace(point, nil) }
}

func (p *Points) replace(point string, action any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]any)
	if armed := p.armed.Load(); armed != nil {
		maps.Copy(next, *armed)
	}
	if next[point] = action; action == nil {
		delete(next, point)
	}
	if len(next) == 0 {
		p.armed.Store(nil)
		return
	}
	p.armed.Store(&next)
}
