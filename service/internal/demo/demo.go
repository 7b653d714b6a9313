package demo

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

// reload is the time for which traffic continues without a viewer. It is longer than a reload of
// the page.
const reload = 3 * time.Second

// Options are the parts of the shop that a demo uses.
type Options struct {
	Client   *redstart.Client
	Second   *redstart.Client // of instance B of the stories; nil for no stories
	Cut      *Outage          // between Second and Redis; nil for no lock story
	Shop     *shop.Shop
	Database *store.Store
	Base     *url.URL // of this instance, which must be on this machine
	Users    int      // the traffic reads the users 1 to Users
	Outage   *Outage  // nil if Redis can't be stopped
}

// Demo has the figures and the controls of the page. Create it with New.
type Demo struct {
	Meter   *Meter
	Live    *Live
	Traffic *Traffic
	Outage  *Outage     // nil if Redis can't be stopped
	Cache   *CacheStory // nil without a second client
	Lock    *LockStory  // nil if the second client can't be cut off
	Limit   *LimitStory
	Events  *EventsStory
	Session *SessionStory // nil without a second client

	accounts *accounts

	mu      sync.Mutex
	viewers int
	left    *time.Timer // fires some time after the last viewer has left
}

// New returns a demo of this instance. Stop it.
func New(opts Options) (*Demo, error) {
	d := &Demo{Meter: &Meter{}, Traffic: NewTraffic(opts.Base, opts.Users), Outage: opts.Outage,
		accounts: newAccounts(opts.Shop, opts.Database)}
	var err error
	if d.Limit, err = newLimitStory(opts.Client); err != nil {
		return nil, err
	}
	if d.Events, err = newEventsStory(opts.Client); err != nil {
		return nil, err
	}
	d.Live = NewLive(opts.Client.Metrics(), d.Meter, d.state)
	if opts.Second != nil {
		if d.Cache, err = newCacheStory(opts.Client, opts.Second, d.accounts); err != nil {
			return nil, err
		}
		if d.Session, err = newSessionStory(opts.Client, opts.Second); err != nil {
			return nil, err
		}
	}
	if opts.Second != nil && opts.Cut != nil {
		if d.Lock, err = newLockStory(opts.Client, opts.Second, opts.Cut); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Stories returns the names of the stories that this demo has.
func (d *Demo) Stories() []string {
	names := []string{"events", "limit"}
	if d.Cache != nil {
		names = append(names, "cache")
	}
	if d.Session != nil {
		names = append(names, "session")
	}
	if d.Lock != nil {
		names = append(names, "lock")
	}
	return names
}

// StartTraffic starts virtual users, or stops them with zero users. They share two accounts of the
// demo, one of each plan. If sessions are unavailable, they are visitors.
func (d *Demo) StartTraffic(ctx context.Context, users int, length time.Duration) error {
	var cookies []*http.Cookie
	if users > 0 {
		var err error
		cookies, err = d.accounts.logIn(ctx)
		if err != nil && !noAnswer(err) {
			return err
		}
	}
	d.Traffic.Start(users, length, cookies)
	return nil
}

// noAnswer reports whether an error means that Redis did not answer.
func noAnswer(err error) bool {
	return errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, redstart.ErrIndeterminate)
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

// Stop stops the traffic and ends an outage. It can be called more than once.
func (d *Demo) Stop() {
	d.Traffic.Close()
	if d.Outage != nil {
		d.Outage.Resume()
	}
	if d.Lock != nil {
		d.Lock.cut.Resume()
	}
}
