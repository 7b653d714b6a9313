package script

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// UndeclaredKeys is the first line of each script that touches keys which are not in KEYS, because
// the script itself finds their names. Dragonfly refuses such keys without this line. For Redis and
// Valkey it is a comment.
const UndeclaredKeys = "--!df flags=allow-undeclared-keys\n"

// MayTouchUndeclared reports whether the first line of a script's text is [UndeclaredKeys].
func MayTouchUndeclared(source string) bool { return strings.HasPrefix(source, UndeclaredKeys) }

const (
	maxRecorded = 1000 // scripts
	maxSet      = 8    // declared keys that are compared one by one; more are looked up
)

// Recorder notes, for tests, which scripts of an embedded server touch keys that are not in KEYS.
// It remembers one key for each of at most 1,000 scripts. Its methods are safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	sources map[string]string // digest → text, of scripts that were loaded
	ran     map[string]bool   // digests of scripts that were executed
	touched map[string]string // digest → the first key that was not in KEYS
}

type recorderKey struct{}

// WithRecorder returns a context for embedded.Start. The server reports its scripts to r.
func WithRecorder(ctx context.Context, r *Recorder) context.Context {
	return context.WithValue(ctx, recorderKey{}, r)
}

// RecorderOf returns the recorder of a context, or nil.
func RecorderOf(ctx context.Context) *Recorder {
	r, _ := ctx.Value(recorderKey{}).(*Recorder)
	return r
}

// Undeclared returns the text of each script that touched a key outside of KEYS, and that key.
func (r *Recorder) Undeclared() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := make(map[string]string, len(r.touched))
	for digest, key := range r.touched {
		found[r.sources[digest]] = key
	}
	return found
}

// Ran returns the text of each script that was executed.
func (r *Recorder) Ran() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var texts []string
	for digest := range r.ran {
		texts = append(texts, r.sources[digest])
	}
	return texts
}

// Loaded notes the text of a script. A nil recorder notes nothing.
func (r *Recorder) Loaded(digest, source string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources == nil {
		r.sources, r.ran, r.touched = map[string]string{}, map[string]bool{}, map[string]string{}
	}
	if len(r.sources) < maxRecorded {
		r.sources[digest] = source
	}
}

// Run begins one execution of a script. The result is nil if the recorder is nil.
func (r *Recorder) Run(digest string, keys []string) *Run {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	if _, known := r.sources[digest]; known {
		r.ran[digest] = true
	}
	r.mu.Unlock()
	run := &Run{recorder: r, digest: digest, keys: keys}
	if len(keys) > maxSet {
		run.set = make(map[string]struct{}, len(keys))
		for _, key := range keys {
			run.set[key] = struct{}{}
		}
	}
	return run
}

// Run is one execution of a script.
type Run struct {
	recorder *Recorder
	digest   string
	keys     []string
	set      map[string]struct{} // of keys, if there are many
}

// Touch notes the keys of one command of the script.
func (r *Run) Touch(keys []string) {
	for _, key := range keys {
		if !r.declares(key) {
			r.recorder.touch(r.digest, key)
		}
	}
}

func (r *Run) declares(key string) bool {
	if r.set != nil {
		_, declared := r.set[key]
		return declared
	}
	return slices.Contains(r.keys, key)
}

func (r *Recorder) touch(digest, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.sources[digest]; !known {
		return
	}
	if _, noted := r.touched[digest]; !noted {
		r.touched[digest] = strings.Clone(key)
	}
}
