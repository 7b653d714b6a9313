package rig_test

import (
	"os"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestAlone runs in a process of its own, with the code after Alone once. That process fails if it
// has to.
func TestAlone(t *testing.T) {
	t.Parallel()
	if !rig.Alone(t) {
		return
	}
	if os.Getenv("RIG_TEST_ALONE") != "" {
		t.Error("as asked")
	}
}
