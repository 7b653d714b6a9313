package events

import (
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/hub"
	"github.com/redstart-go/redstart/internal/keys"
)

// probe is a channel of this subscriber alone, on a node where it has others. What is published there must come
// back: a connection can look healthy and deliver nothing.
type probe struct {
	channel string
	sub     *hub.Subscription
	back    chan string
}

// watch probes every node's connection until ctx ends.
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
		r.place(ctx, me, probes)
		for node, p := range probes {
			if !r.send(ctx, p, strconv.Itoa(n)) && ctx.Err() == nil {
				r.sub.stats.probesFailed.Add(1)
				r.mu.Lock()
				if r.outage[node] == nil { // the hub will say Lost to all of the node's channels
					r.outage[node] = &outage{}
				}
				r.outage[node].probe = true
				r.mu.Unlock()
				p.sub.Suspect()
			}
		}
		timer.Reset(r.live.opt.ProbeInterval)
	}
}

// place makes sure that there is one probe per node that serves the subscriber's channels now.
func (r *liveRun) place(ctx context.Context, me string, probes map[string]*probe) {
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
		p := &probe{channel: r.live.space.Sibling(tag, "probe:"+me), back: make(chan string, 1)}
		within, cancel := context.WithTimeout(ctx, r.live.opt.ProbeTimeout)
		sub, err := r.live.core.Hub().Subscribe(within, p.channel, hub.Receiver{Message: func(text string) {
			select {
			case <-p.back: // nobody took the one before
			default:
			}
			p.back <- text
		}})
		cancel()
		if err != nil { // no connection: the hub is at it
			continue
		}
		p.sub = sub
		probes[node] = p
	}
}

// send reports whether a message came back in time. One that could not be sent says nothing about the connection.
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
		case got := <-p.back:
			if got == text && r.live.points.Fail("probe", "") == nil {
				return true
			}
		}
	}
}
