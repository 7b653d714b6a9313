package rig

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// OwnClock is an argument of a server, for [Standalone], [NodeArgs] and [NewSentinel]. The server
// then has a wall clock of its own, which [Server.Step] sets. It needs Linux and gcc.
const OwnClock = "own-clock"

// clockFile has the offset of the clock, in the server's directory.
const clockFile = "clock"

// takeOwnClock returns args without [OwnClock], and whether it was among them.
func takeOwnClock(args []string) ([]string, bool) {
	i := slices.Index(args, OwnClock)
	if i < 0 {
		return args, false
	}
	return slices.Delete(slices.Clone(args), i, i+1), true
}

//go:embed testdata/clock.c
var clockSource []byte

// clockLibrary compiles the library of the clock, once per process.
var clockLibrary = sync.OnceValues(func() (string, error) {
	dir, err := process.serverDir("clock-library")
	if err != nil {
		return "", err
	}
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rig: a clock for a server needs gcc: install it with: apt-get install -y gcc libc6-dev: %w\n%s", err, out)
	}
	return library, nil
})

// ownClock returns the command that starts cmd with a clock of its own.
func ownClock(dir string, cmd []string) ([]string, error) {
	library, err := clockLibrary()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, clockFile)
	if err := os.WriteFile(file, make([]byte, 8), 0o600); err != nil {
		return nil, err
	}
	return append([]string{"/usr/bin/env", "LD_PRELOAD=" + library, "RIG_CLOCK=" + file}, cmd...), nil
}

// Step sets the clock of a server with [OwnClock] to the time of this machine plus the offset. It
// returns when the server reports that time. The offset stays after Restart.
func (s *Server) Step(offset time.Duration) {
	t := s.owned()
	t.Helper()
	file, err := os.OpenFile(filepath.Join(s.dir, clockFile), os.O_WRONLY, 0)
	if err != nil {
		t.Fatalf("rig: %s has no clock of its own: start it with rig.OwnClock: %v", s.name, err)
	}
	defer file.Close()
	if _, err := file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(offset)), 0); err != nil {
		t.Fatal(err)
	}
	Eventually(t, startTimeout, "the clock of "+s.name+" steps", func() bool {
		now, err := s.now()
		return err == nil && time.Until(now.Add(-offset)).Abs() < 500*time.Millisecond
	})
}

// now returns the time of the server.
func (s *Server) now() (time.Time, error) {
	reply, err := s.do(time.Second, "TIME")
	if err != nil {
		return time.Time{}, err
	}
	seconds, micros, _ := strings.Cut(text(reply), "\n")
	sec, err1 := strconv.ParseInt(seconds, 10, 64)
	usec, err2 := strconv.ParseInt(micros, 10, 64)
	return time.Unix(sec, usec*1000), errors.Join(err1, err2)
}
