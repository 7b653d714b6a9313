package demo

import (
	"context"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
)

// reload is the time for which traffic continues without a viewer. It is longer than a reload of
// the page.
const reload = 3 * time.Second

// Demo has the figures and the controls of the page. Create it with New.
type Demo struct {
	Meter   *Meter
	Live    *Live
	Traffic *Traffic
	Outage  *Outage // nil if Redis can't be stopped

	mu      sync.Mutex
	viewers int
	left    *time.Timer // fires some time after the last viewer has left
}

// New returns a demo of the instance at base, which must be on this machine. Its traffic reads the
// users 1 to users.
func New(client *redstart.Client, base *url.URL, users int, outage *Outage) *Demo {
	d := &Demo{Meter: &Meter{}, Traffic: NewTraffic(base, users), Outage: outage}
	d.Live = NewLive(client.Metrics(), d.Meter, d.state)
	return d
}

// Watch is Live.Watch. The traffic stops when no viewer is left.
func (d *Demo) Watch(ctx context.Context, show func(Sample) error) error {
	d.come()
	defer d.leave()
	return d.Live.Watch(ctx, show)
}

func (d *Demo) come() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.viewers++
	if d.left != nil {
		d.left.Stop()
	}
}

func (d *Demo) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.viewers--; d.viewers == 0 {
		d.left = time.AfterFunc(reload, func() {
			d.mu.Lock()
			alone := d.viewers == 0
			d.mu.Unlock()
			if alone {
				d.Traffic.Stop()
			}
		})
	}
}

func (d *Demo) state() (s State) {
	var left time.Duration
	s.TrafficUsers, left = d.Traffic.Users()
	s.TrafficSeconds = seconds(left)
	if d.Outage != nil {
		s.RedisStopped, left = d.Outage.Stopped()
		s.RedisSeconds = seconds(left)
	}
	return s
}

func seconds(d time.Duration) int { return int(math.Ceil(max(d, 0).Seconds())) }

// Close stops the traffic and ends an outage. It can be called more than once.
func (d *Demo) Close() {
	d.Traffic.Close()
	if d.Outage != nil {
		d.Outage.Resume()
	}
}
