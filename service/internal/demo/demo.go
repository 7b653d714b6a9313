package demo

import (
	"net/url"

	"github.com/redstart-go/redstart"
)

// Demo is what the page shows and controls. Use New.
type Demo struct {
	Meter   *Meter
	Live    *Live
	Traffic *Traffic
	Outage  *Outage // nil where Redis can't be stopped
}

// New returns a demo of the instance that answers at base, which must be on this machine.
func New(client *redstart.Client, base *url.URL, outage *Outage) *Demo {
	d := &Demo{Meter: &Meter{}, Traffic: NewTraffic(base), Outage: outage}
	d.Live = NewLive(client.Metrics(), d.Meter, func() (int, bool) {
		return d.Traffic.Users(), outage != nil && outage.Stopped()
	})
	return d
}

// Close stops the traffic and ends an outage.
func (d *Demo) Close() {
	d.Traffic.Close()
	if d.Outage != nil {
		d.Outage.Resume()
	}
}
