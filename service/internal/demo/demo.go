package demo

import (
	"context"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
)

// reload is how long traffic goes on without anybody who looks: long enough for a page to be loaded anew.
const reload = 3 * time.Second

// Demo is what the page shows and controls. Use New.
type Demo struct {
	Meter   *Meter
	Live    *Live
	Traffic *Traffic
	Outage  *Outage // nil where Redis can't be stopped

	mu      sync.Mutex
	viewers int
	left    *time.Timer // since the last viewer left
}

// New returns a demo of the instance that answers at base, which must be on this machine. Its traffic reads the users 1 to users.
func New(client *redstart.Client, base *url.URL, users int, outage *Outage) *Demo {
	d := &Demo{Meter: &Meter{}, Traffic: NewTraffic(base, users), Outage: outage}
	d.Live = NewLive(client.Metrics(), d.Meter, d.state)
	return d
}

// Watch is Live.Watch. Once the last viewer is gone the traffic stops.
func (d *Demo) Watch(ctx context.Context, see func(Sample) error) error {
	d.come()
	defer d.leave()
	return d.Live.Watch(ctx, see)
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

// Close stops the traffic and ends an outage. It may be called again.
func (d *Demo) Close() {
	d.Traffic.Close()
	if d.Outage != nil {
		d.Outage.Resume()
	}
}
