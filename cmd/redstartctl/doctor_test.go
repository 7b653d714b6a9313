package main

import (
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestTranscriptDoctor(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	transcript(t, "doctor.txt", serverEnv(s.URL(), namespace), map[string]func(){"a server without an append-only file": func() {}})
}
