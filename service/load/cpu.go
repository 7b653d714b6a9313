package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// processorTime returns the processor time of a process, as Linux counts it, and with children also
// that of its children. Other systems have no /proc, and then measured is false.
func processorTime(pid int, children bool) (d time.Duration, measured bool, err error) {
	total, err := stat(pid)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil || !children {
		return total.own, err == nil, err
	}
	total.own += total.ended
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, false, err
	}
	for _, dir := range all {
		id, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		child, err := stat(id)
		if err == nil && child.parent == pid { // another process may end while we read
			total.own += child.own
		}
	}
	return total.own, true, nil
}

// tick is the unit of times in /proc, on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// times are the parts of /proc/<pid>/stat that the measurement needs.
type times struct {
	own    time.Duration
	ended  time.Duration // of the children that have ended
	parent int
}

func stat(pid int) (t times, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return t, err
	}
	// The name in parentheses may hold spaces. The fields after it start with the third, the state.
	end := strings.LastIndexByte(string(content), ')')
	fields := strings.Fields(string(content[end+1:]))
	if len(fields) < 15 {
		return t, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	var n [5]int64
	for i, field := range []string{fields[1], fields[11], fields[12], fields[13], fields[14]} { // ppid, utime, stime, cutime, cstime
		if n[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return t, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return times{time.Duration(n[1]+n[2]) * tick, time.Duration(n[3]+n[4]) * tick, int(n[0])}, nil
}
