package dial_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/redstart-go/redstart/internal/dial"
	"github.com/redstart-go/redstart/internal/rig"
)

// onOneProcessor runs f on a thread of its own, which can use only the first processor of the
// process. The thread ends with f.
func onOneProcessor(t *testing.T, f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var set [128]uint64
		size, at := unsafe.Sizeof(set), unsafe.Pointer(&set)
		_, _, err := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, size, uintptr(at))
		first := slices.IndexFunc(set[:], func(word uint64) bool { return word != 0 })
		if err != 0 || first < 0 {
			t.Errorf("sched_getaffinity: %v", err)
			return
		}
		word := set[first] & -set[first]
		clear(set[:])
		set[first] = word
		if _, _, err := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, size, uintptr(at)); err != 0 {
			t.Errorf("sched_setaffinity: %v", err)
			return
		}
		f()
	}()
	return done
}

// skippedAfterAFailure returns how many reads of a new connection wait at once after a read whose
// tries have failed.
func skippedAfterAFailure(t *testing.T) int {
	nc, peer := pair(t, dial.Dialer{Network: "tcp"}, nil)
	<-onOneProcessor(t, func() {
		if err := nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read without data returned %v", err)
		}
	})
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	tried := dial.Tried(nc)
	<-send(t, peer, make([]byte, dial.MaxSkipped+1))
	for skipped := range dial.MaxSkipped + 1 {
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if dial.Tried(nc) > tried {
			return skipped
		}
	}
	t.Fatalf("no read tried again after %d", dial.MaxSkipped+1)
	return 0
}

// Another thread uses the processor for 0.5 ms or more while a read tries again. Then as many reads
// as possible wait at once. The control is a read without this thread.
func TestBusyReadsStopWhileOthersUseTheProcessor(t *testing.T) {
	// not parallel: the threads of other tests would use the processor too
	seen := map[int]int{} // failures by the number of reads that waited at once
	until := func(what string, skipped int) {
		rig.EventuallyOr(t, 20*time.Second, what, func() bool {
			n := skippedAfterAFailure(t)
			seen[n]++
			return n == skipped
		}, func() string {
			return fmt.Sprintf("%d reads shall wait at once, failures by this number: %v", skipped, seen)
		})
	}
	until("the control", 1)

	var stop atomic.Bool
	working := onOneProcessor(t, func() {
		for !stop.Load() {
		}
	})
	defer func() { stop.Store(true); <-working }()
	until("next to a busy thread", dial.MaxSkipped)
}

// runsDuring runs f with one processor, next to a goroutine that is always ready. It returns how
// often that goroutine ran and worked.
func runsDuring(work time.Duration, f func()) int64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var runs atomic.Int64
	var stop atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for !stop.Load() {
			runs.Add(1)
			for began := time.Now(); time.Since(began) < work; {
			}
			runtime.Gosched()
		}
	}()
	f()
	ran := runs.Load()
	stop.Store(true)
	<-stopped
	return ran
}

// All bytes have arrived, so no read waits and lets other goroutines run. The 16th of the reads
// that may try again does. If others use the processor for a while, this counts as a failure, and
// the next read may not try. The control is a goroutine that returns at once.
func TestBusyReadsLetOtherGoroutinesRun(t *testing.T) {
	// not parallel: with one processor, a goroutine runs only when another yields or waits
	// at each 61st turn, the scheduler runs the goroutine that has just yielded
	const rounds, most = 20, 15
	count := func(work time.Duration) (ran, failed int) { // in how many rounds
		for range rounds {
			nc, peer := pair(t, dial.Dialer{Network: "tcp"}, nil)
			<-send(t, peer, make([]byte, dial.SharedEvery+1))
			runs := runsDuring(work, func() {
				for range dial.SharedEvery + 1 {
					if _, err := nc.Read(make([]byte, 1)); err != nil {
						t.Error(err)
					}
				}
			})
			if runs > 0 {
				ran++
			}
			if dial.Tried(nc) == dial.SharedEvery {
				failed++
			}
		}
		return ran, failed
	}

	if ran, failed := count(0); ran < most || failed > most {
		t.Errorf("in %d rounds, another goroutine ran in %d, and it counted as a failure in %d", rounds, ran, failed)
	}
	if ran, failed := count(10 * dial.SharedFor); ran < most || failed < most {
		t.Errorf("in %d rounds, a busy goroutine ran in %d, and it counted as a failure in %d", rounds, ran, failed)
	}
}
