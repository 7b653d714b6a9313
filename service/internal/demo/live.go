package demo

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/redstart-go/redstart/observe"
)

// Sample has the figures of one second of this instance.
type Sample struct {
	Time            int64   `json:"t"` // Unix time in s
	RPS             float64 `json:"rps"`
	P50             float64 `json:"p50_ms"` // of requests that were not refused
	P99             float64 `json:"p99_ms"`
	Errors          float64 `json:"errors"` // responses with status 500 and above
	NearHits        float64 `json:"hits_near"`
	RedisHits       float64 `json:"hits_redis"`
	StaleHits       float64 `json:"hits_stale"`
	Misses          float64 `json:"misses"`
	Loads           float64 `json:"loads"`
	LoadsAvoided    float64 `json:"loads_avoided"` // cache requests without a loader call
	LockAcquired    float64 `json:"lock_acquired"`
	LockWaits       float64 `json:"lock_waits"`
	LimitAllowed    float64 `json:"limit_allowed"`
	LimitRefused    float64 `json:"limit_refused"`  // by Redis, from memory, and because Redis did not answer
	LimitLocally    float64 `json:"limit_locally"`  // the part of LimitRefused that came from memory
	LimitDegraded   float64 `json:"limit_degraded"` // passed without a limit, because Redis did not answer
	EventsPublished float64 `json:"events_published"`
	EventsHandled   float64 `json:"events_handled"`
	Breaker         string  `json:"breaker"` // closed or open
	State
}

// State is the state of the controls.
type State struct {
	TrafficUsers   int  `json:"traffic_users"`
	TrafficSeconds int  `json:"traffic_seconds"` // until it stops
	RedisStopped   bool `json:"redis_stopped"`
	RedisSeconds   int  `json:"redis_seconds"` // until it is restored
}

// Live takes a Sample each second while there are viewers. Create it with NewLive.
type Live struct {
	metrics iter.Seq[observe.Metric]
	meter   *Meter
	state   func() State

	mu      sync.Mutex
	viewers map[chan Sample]struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

// NewLive samples the metrics of a client and a meter. state returns the state of the controls.
func NewLive(metrics iter.Seq[observe.Metric], meter *Meter, state func() State) *Live {
	return &Live{metrics: metrics, meter: meter, state: state, viewers: make(map[chan Sample]struct{})}
}

// Watch calls show with each sample until ctx ends or show returns an error. A slow viewer misses
// samples.
func (l *Live) Watch(ctx context.Context, show func(Sample) error) error {
	ch := make(chan Sample, 4)
	l.join(ch)
	defer l.leave(ch)
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-ch:
			if err := show(s); err != nil {
				return err
			}
		}
	}
}

func (l *Live) join(ch chan Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.viewers[ch] = struct{}{}
	if len(l.viewers) == 1 {
		ctx, stop := context.WithCancel(context.Background())
		l.stop, l.done = stop, make(chan struct{})
		go l.run(ctx, l.done)
	}
}

func (l *Live) leave(ch chan Sample) {
	l.mu.Lock()
	delete(l.viewers, ch)
	var done chan struct{}
	if len(l.viewers) == 0 {
		l.stop()
		done = l.done
	}
	l.mu.Unlock()
	if done != nil {
		<-done
	}
}

func (l *Live) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	before := l.read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := l.read()
		sample := now.since(before)
		sample.State = l.state()
		before = now
		l.mu.Lock()
		for ch := range l.viewers {
			select {
			case ch <- sample:
			default:
			}
		}
		l.mu.Unlock()
	}
}

// reading has the totals of all counters at one time.
type reading struct {
	at       time.Time
	requests int64
	errors   int64
	took     counts
	totals   map[string]float64 // by metric, and by metric and label value
	open     bool
}

func (l *Live) read() reading {
	r := reading{at: time.Now(), requests: l.meter.requests.Load(), errors: l.meter.errors.Load(),
		took: l.meter.took.counts(), totals: make(map[string]float64)}
	for m := range l.metrics {
		if m.Name == "redstart.breaker.open" && m.Value > 0 {
			r.open = true
		}
		r.totals[m.Name] += m.Value
		for _, label := range m.Labels {
			r.totals[m.Name+" "+label.Value] += m.Value
		}
	}
	return r
}

func (r reading) since(before reading) Sample {
	seconds := r.at.Sub(before.at).Seconds()
	diff := func(names ...string) (sum float64) {
		for _, name := range names {
			sum += r.totals[name] - before.totals[name]
		}
		return max(sum, 0)
	}
	const requests = "redstart.ratelimit.requests "
	s := Sample{
		Time:            r.at.Unix(),
		RPS:             float64(r.requests-before.requests) / seconds,
		P50:             r.took.percentile(before.took, 0.50),
		P99:             r.took.percentile(before.took, 0.99),
		Errors:          float64(r.errors - before.errors),
		NearHits:        diff("redstart.cache.requests near"),
		RedisHits:       diff("redstart.cache.requests hit", "redstart.cache.requests negative"),
		StaleHits:       diff("redstart.cache.requests stale"),
		Misses:          diff("redstart.cache.requests miss"),
		Loads:           diff("redstart.cache.loads"),
		LockAcquired:    diff("redstart.lock.acquired"),
		LockWaits:       diff("redstart.lock.waited"),
		LimitAllowed:    diff(requests+"allowed", requests+"leased"),
		LimitRefused:    diff(requests+"refused", requests+"refused_locally", requests+"failed"),
		LimitLocally:    diff(requests + "refused_locally"),
		LimitDegraded:   diff(requests + "degraded"),
		EventsPublished: diff("redstart.events.published"),
		EventsHandled:   diff("redstart.events.handled"),
		Breaker:         "closed",
	}
	s.LoadsAvoided = max(diff("redstart.cache.requests")-s.Loads, 0)
	if r.open {
		s.Breaker = "open"
	}
	return s
}
