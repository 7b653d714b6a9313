package lock

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// WaitForever as [Options.Wait] makes Acquire wait until its context ends.
	WaitForever time.Duration = -1

	// MaxName is the maximum length of a name, in bytes. A longer name is redstart.ErrTooLarge.
	MaxName = 1024

	minTTL = 100 * time.Millisecond
	maxTTL = 24 * time.Hour

	// maxNames is how many names All acquires at once.
	maxNames = 100

	// maxPermits is how many permits a semaphore has.
	maxPermits = 1_000_000

	// retention is how long the server keeps the token of a name after its last lease. A new token
	// is normally greater, because it comes from the server's clock. The stored token covers a
	// clock that steps back by less than retention.
	retention = 10 * time.Minute

	// pollEvery is the longest time between two heartbeats of a waiter's process. A lost
	// notification costs a waiter at most this time.
	pollEvery = 900 * time.Millisecond

	// aliveFor is how long a process counts as alive after a heartbeat.
	aliveFor = 3 * time.Second

	// grantTTL is the minimum lease of a lock that was handed to a waiter. It is longer than
	// pollEvery, so that the waiter gets the lock even if the notification was lost.
	grantTTL = time.Second

	// handoffMarginMax is the greatest Margin that is added to a grant. With the margin in its
	// grant, a waiter holds the lock as soon as it receives the notification. The limit exists
	// because the grant of a waiter that died delays the next waiter.
	handoffMarginMax = 2 * time.Second

	// confirmAfter is when a waiter renews a lock that was handed to it. A holder that releases
	// earlier saves this renewal.
	confirmAfter = 20 * time.Millisecond
)

// Options configure a [Locker]. The zero value is the documented default.
//
// Acquire, TryAcquire, Do and the methods of [Resource] take a [CallOption], which changes TTL or
// Wait for one call.
type Options struct {
	// TTL is the lease: how long a lock outlives a holder that crashed. A held lock is renewed
	// every TTL/3. Default 10 s, from 100 ms to 24 h.
	TTL time.Duration

	// Wait is how long Acquire waits for a lock that is held. The end of its context ends the wait
	// earlier. Default 5 s. [WaitForever] waits until the context ends.
	Wait time.Duration

	// Margin is how long before the end of its lease a lock counts as lost. It covers pauses of the
	// process and clocks of different speed. Default TTL/5, at most TTL/2. With a Margin above 2 s,
	// a notified waiter needs one more round trip before Acquire returns.
	Margin time.Duration

	// MaxHold is the maximum time that a lock is held. After it, the lock's context ends with
	// ErrLost, and the lease is not renewed. Default 0: no maximum.
	MaxHold time.Duration

	// MinReplicas is how many replicas must confirm a lock before Acquire returns (WAIT). It costs
	// one more round trip, on a connection of the blocking pool. If fewer replicas confirm in time,
	// the lock is released and Acquire returns ErrNotReplicated. A failover can still lose a lock:
	// see the section Limits of the package. Default 0, at most 100.
	MinReplicas int

	// Group puts all locks of this Locker into one cluster slot, so that All can acquire several at
	// once. The group is part of a lock's identity: the same name in another group, or without a
	// group, is another lock. Default: no group.
	Group string

	// Name identifies this Locker in metrics and traces. Default "default".
	Name string

	// Process identifies this process in Inspect and Election.Leader: printable ASCII without
	// spaces, up to 64 bytes. It is stored with each held lock and each place in a queue. Default:
	// the host's name and the process id.
	Process string
}

func (o Options) withDefaults() (Options, error) {
	if o.TTL == 0 {
		o.TTL = 10 * time.Second
	}

	if o.TTL < minTTL || o.TTL > maxTTL {
		return o, fmt.Errorf("lock: Options.TTL is %v: it must be from %v to %v", o.TTL, minTTL, maxTTL)
	}

	if o.Wait == 0 {
		o.Wait = 5 * time.Second
	}

	if o.Wait < 0 && o.Wait != WaitForever {
		return o, fmt.Errorf("lock: Options.Wait is %v: it must be positive, 0 for the default, or WaitForever", o.Wait)
	}

	if o.Margin == 0 {
		o.Margin = o.TTL / 5
	}

	if o.Margin < 0 || o.Margin > o.TTL/2 {
		return o, fmt.Errorf("lock: Options.Margin is %v: it must be from 0 (TTL/5) to TTL/2 = %v", o.Margin, o.TTL/2)
	}

	if o.MaxHold < 0 {
		return o, fmt.Errorf("lock: Options.MaxHold is %v: it must not be negative: 0 means no maximum", o.MaxHold)
	}

	if o.MinReplicas < 0 || o.MinReplicas > 100 {
		return o, fmt.Errorf("lock: Options.MinReplicas is %d: it must be from 0 to 100", o.MinReplicas)
	}

	if len(o.Group) > MaxName {
		return o, fmt.Errorf("lock: Options.Group is %d bytes long: the limit is %d", len(o.Group), MaxName)
	}

	if o.Name == "" {
		o.Name = "default"
	}

	if o.Process == "" {
		o.Process = defaultProcess()
	}

	if len(o.Process) > maxProcess || strings.IndexFunc(o.Process, unprintable) >= 0 {
		return o, fmt.Errorf("lock: Options.Process is %s: it must be printable ASCII without spaces, up to %d bytes",
			quoted(o.Process), maxProcess)
	}

	return o, nil
}

const maxProcess = 64

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// defaultProcess returns the host's name and the process id.
func defaultProcess() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}

	host = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '_'
		}
		return r
	}, host)

	return host[:min(len(host), maxProcess-12)] + ":" + strconv.Itoa(os.Getpid())
}
