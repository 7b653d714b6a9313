package rig_test

import (
	"os"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestAlone runs the code after Alone once, in a new process. A failure of that process is a
// failure of the test.
func TestAlone(t *testing.T) {
	t.Parallel()
	if !rig.Alone(t) {
		return
	}
	if os.Getenv("RIG_TEST_ALONE") != "" {
		t.Error("as asked")
	}
}
