package core

import (
	"sync"
	"sync/atomic"
	"time"
)

// trial decides by measurement whether reads use the shared connection or several ones. With idle
// processors, several connections are up to 30 % faster. With busy ones, the shared connection is
// up to twice as fast, because commands share system calls. So some reads of each epoch use the
// other way, and their times are compared.
//
// An epoch has three parts: reads that try the other way, reads whose times are compared with
// theirs, and the rest. The first reads of a part are not counted, because calls of both ways are
// in flight then.
type trial struct {
	reads  atomic.Int64
	spread atomic.Bool // several connections are faster

	mu   sync.Mutex
	sum  [2]time.Duration // times of this epoch: shared, spread
	n    [2]int
	mean [2]float64 // of earlier epochs, ns; 0 if there are none
}

const (
	epoch      = 4096 // reads between two decisions
	tried      = 256  // reads of an epoch that use the other way: 6 %
	settling   = 32   // first reads of a part, which are not counted
	trialLimit = 4    // greatest time that counts, as a multiple of the mean
	trialGain  = 0.95 // the other way must have at most this part of the time
	trialShare = 0.25 // weight of one epoch in the mean
)

// sample is a read whose time counts in a trial.
type sample struct {
	trial  *trial // nil if the time does not count
	spread bool
	began  time.Duration // clock
}

// next returns whether a read uses several connections, and whether its time counts.
func (t *trial) next() (spread, counts bool) {
	at := t.reads.Add(1) % epoch
	if at == 0 {
		t.decide()
	}
	spread = t.spread.Load()
	if at < tried {
		return !spread, at >= settling
	}
	return spread, at >= tried+settling && at < 2*tried
}

// note adds the time of a read.
func (t *trial) note(spread bool, took time.Duration) {
	way := 0
	if spread {
		way = 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mean := t.mean[way]; mean > 0 {
		took = min(took, time.Duration(trialLimit*mean))
	}
	t.sum[way] += took
	t.n[way]++
}

// decide ends an epoch. Without times of both ways, the decision stays.
func (t *trial) decide() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n[0] == 0 || t.n[1] == 0 {
		return
	}
	for way := range t.mean {
		mean := float64(t.sum[way]) / float64(t.n[way])
		if t.mean[way] > 0 {
			mean = trialShare*mean + (1-trialShare)*t.mean[way]
		}
		t.mean[way], t.sum[way], t.n[way] = mean, 0, 0
	}
	if t.spread.Load() {
		t.spread.Store(t.mean[1] <= t.mean[0]/trialGain)
	} else {
		t.spread.Store(t.mean[1] < t.mean[0]*trialGain)
	}
}
