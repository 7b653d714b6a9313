package rig_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// A Stopwatch counts a wait. It does not count the time that other work takes on the processors.
// The test is not parallel, because it creates such work.
func TestStopwatch(t *testing.T) {
	began, waited := time.Now(), rig.Watch(t)
	<-time.After(300 * time.Millisecond)
	if took := waited.Took(); took <= 0 || took > time.Since(began) {
		t.Errorf("a wait of 300 ms took %v", took)
	}

	began, busy := time.Now(), rig.Watch(t)
	end := began.Add(300 * time.Millisecond)
	var wg sync.WaitGroup
	for range 16 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for time.Now().Before(end) {
			}
		})
	}
	wg.Wait()
	if took, all := busy.Took(), time.Since(began); took > all*3/4 {
		t.Errorf("with 16 busy goroutines per processor %v of %v are counted", took, all)
	}
}
