package events

import (
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
)

// probe is a channel that only this subscriber uses, on a node where the subscriber has other
// channels. A message to the probe must return: a connection can look healthy and deliver nothing.
type probe struct {
	channel  string
	sub      *hub.Subscription
	returned chan string
}

// watch probes the connection to every node until ctx ends.
func (r *liveRun) watch(ctx context.Context) {
	probes := make(map[string]*probe)
	defer func() {
		for _, p := range probes {
			p.sub.Close()
		}
	}()

	timer := time.NewTimer(r.live.opt.ProbeInterval)
	defer timer.Stop()
	me := newID(time.Now())
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.subscribeProbes(ctx, me, probes)
		for node, p := range probes {
			if !r.send(ctx, p, strconv.Itoa(n)) && ctx.Err() == nil {
				r.sub.stats.probesFailed.Add(1)
				r.mu.Lock()
				if r.outages[node] == nil { // the hub then calls Lost for all channels of the node
					r.outages[node] = &outage{}
				}
				r.outages[node].probe = true
				r.mu.Unlock()
				p.sub.Suspect()
			}
		}
		timer.Reset(r.live.opt.ProbeInterval)
	}
}

// subscribeProbes keeps one probe for each node that serves channels of the subscriber.
func (r *liveRun) subscribeProbes(ctx context.Context, me string, probes map[string]*probe) {
	tags := make(map[string]string)
	add := func(tag string) {
		if node, known := r.live.core.Owner(keys.Slot(r.live.space.Key(tag))); known && tags[node] == "" {
			tags[node] = tag
		}
	}
	for channel := range r.sub.exact {
		add(channel)
	}
	for i, wanted := range r.partitions {
		if wanted {
			add(strconv.Itoa(i))
		}
	}

	for node, p := range probes {
		if owner, known := r.live.core.Owner(keys.Slot(p.channel)); tags[node] == "" || !known || owner != node {
			p.sub.Close()
			delete(probes, node)
		}
	}

	for node, tag := range tags {
		if probes[node] != nil {
			continue
		}
		p := &probe{channel: r.live.space.Sibling(tag, "probe:"+me), returned: make(chan string, 1)}
		within, cancel := context.WithTimeout(ctx, r.live.opt.ProbeTimeout)
		sub, err := r.live.core.Hub().Subscribe(within, p.channel, hub.Receiver{Message: func(text string) {
			select {
			case <-p.returned: // discard the previous message
			default:
			}
			p.returned <- text
		}})
		cancel()
		if err != nil { // no connection: the hub reconnects
			continue
		}
		p.sub = sub
		probes[node] = p
	}
}

// send reports whether a message returned in time. If the message can't be sent, send returns true:
// the connection for subscriptions may still deliver.
func (r *liveRun) send(ctx context.Context, p *probe, text string) bool {
	r.sub.stats.probes.Add(1)
	if r.live.core.Publish(ctx, p.channel, text) != nil {
		return true
	}
	timer := time.NewTimer(r.live.opt.ProbeTimeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-timer.C:
			return false
		case got := <-p.returned:
			if got == text && r.live.points.Fail("probe", "") == nil {
				return true
			}
		}
	}
}
