package redstarttest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// onBoth runs a test on the embedded engine and on a real server.
func onBoth(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("embedded", test)
	t.Run("real", func(t *testing.T) {
		t.Setenv("REDSTART_TEST_URL", rig.Shared(t).URL())
		test(t)
	})
}

// spy is a testing.TB that records failures, for tests of what fails a test.
type spy struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (s *spy) Helper()           {}
func (s *spy) Cleanup(fn func()) { s.cleanups = append(s.cleanups, fn) }
func (s *spy) Failed() bool      { return len(s.failures) > 0 }

func (s *spy) Errorf(format string, args ...any) {
	s.failures = append(s.failures, fmt.Sprintf(format, args...))
}

func (s *spy) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

func (s *spy) Fatal(args ...any) {
	s.failures = append(s.failures, fmt.Sprint(args...))
	runtime.Goexit()
}

// failuresOf runs test with a spy, then its cleanups, and returns the failures.
func failuresOf(t *testing.T, test func(t testing.TB)) []string {
	t.Helper()
	s := &spy{TB: t}
	for _, run := range []func(){func() { test(s) }, func() {
		for i := len(s.cleanups) - 1; i >= 0; i-- {
			s.cleanups[i]()
		}
	}} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			run()
		}()
		<-done
	}
	return s.failures
}

// wantFailure checks that test fails once, with a message that has all parts.
func wantFailure(t *testing.T, test func(t testing.TB), parts ...string) {
	t.Helper()
	failures := failuresOf(t, test)
	if len(failures) != 1 {
		t.Errorf("%d failures %q, want one with %q", len(failures), failures, parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(failures[0], part) {
			t.Errorf("the failure is %q, want %q in it", failures[0], part)
		}
	}
}
