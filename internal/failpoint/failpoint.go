// Package failpoint has named points in the code at which a test can act. A test can hold a call
// between two of its steps, make a step fail, shorten a duration, or check a state. Only a test can
// arm a point: the set of points belongs to one object, and no option or variable reaches it.
package failpoint

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Points is the set of points of one object. The zero value is off. Each point then costs one load
// and one comparison with nil. A nil *Points is always off.
type Points struct {
	armed atomic.Pointer[map[string]any] // point to Action or Look; never changed: replaced
	mu    sync.Mutex                     // held to replace armed
}

// Action runs at a point. The key describes the call: a key, a verb, or "". An Action may block.
type Action func(key string) error

// Look checks objects at a point, under the locks that the code holds there.
type Look func(objects ...any)

// On reports whether any point is armed.
func (p *Points) On() bool { return p != nil && p.armed.Load() != nil }

// Hold is a point without an error. It panics if the action returns an error, because the error
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

// Fail is a point at which a step can fail. It returns the error of the action.
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

// at returns the action or look of a point, nil if the point is off.
func (p *Points) at(point string) any {
	if armed := p.armed.Load(); armed != nil {
		return (*armed)[point]
	}
	return nil
}

// Show is a point at which a test can check objects. Call it only if [Points.On] is true, because
// its arguments cost an allocation.
func (p *Points) Show(point string, objects ...any) {
	if look, ok := p.at(point).(Look); ok {
		look(objects...)
	}
}

// Duration returns d, or the duration of [Lasts] if the point is armed with it.
func (p *Points) Duration(point string, d time.Duration) time.Duration {
	if shorter, ok := p.Fail(point, "").(lasts); ok {
		return time.Duration(shorter)
	}
	return d
}

// Lasts returns an action that replaces the duration of a point by d.
func Lasts(d time.Duration) Action { return func(string) error { return lasts(d) } }

type lasts time.Duration

func (l lasts) Error() string { return "lasts " + time.Duration(l).String() }

// Arm sets the action of a point and replaces an earlier one. Tests call rig.Arm, which disarms the
// point at the end of the test.
func (p *Points) Arm(point string, action Action) (disarm func()) { return p.arm(point, action) }

// ArmLook sets the look of a point.
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
