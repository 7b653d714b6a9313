package lock

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// WaitForever as Options.Wait makes Acquire wait until its context ends.
	WaitForever time.Duration = -1

	// MaxName is how many bytes the name of a lock may have.
	MaxName = 1024

	minTTL = 100 * time.Millisecond
	maxTTL = 24 * time.Hour

	maxNames   = 100       // that All takes at once
	maxPermits = 1_000_000 // of a semaphore

	// retention is how long a name's token is remembered after its last lease. A greater token comes from the
	// server's clock anyway; what is remembered covers a clock that steps back by less than this.
	retention = 10 * time.Minute

	// poll is the longest that a waiter goes without asking: what a lost wake-up costs, and its sign of life.
	pollEvery = 900 * time.Millisecond
	// alive is how long the sign counts.
	aliveFor = 3 * time.Second
	// grant is how long a lock that was passed to a waiter waits for it, at least. Longer than poll, so that
	// the waiter gets it even when the wake-up was lost.
	grantTTL = time.Second
	// wideMargin is the greatest Margin by which a grant is lengthened, so that the waiter may hold the lock on the word of
	// the wake-up: a waiter that died in the queue costs the others its grant.
	handoffMarginMax = 2 * time.Second
	// confirmAfter is when such a waiter asks for its full lease: who holds a lock for a shorter time need not ask at all.
	confirmAfter = 20 * time.Millisecond
)

// Options of a Locker. The zero value is the documented default.
//
// Acquire, TryAcquire, Do and the methods of a Resource take CallOptions, which set TTL and Wait for one call.
type Options struct {
	// TTL is the lease: how long a lock outlives a holder that crashed. It is renewed, every TTL/3, while the lock
	// is held. Default 10 s, from 100 ms to 24 h.
	TTL time.Duration

	// Wait is how long Acquire waits for a lock that is taken; its context may end earlier. Default 5 s;
	// WaitForever.
	Wait time.Duration

	// Margin is how long before the lease can end on the server the holder is told: what pauses of the process and
	// differences of clock rates may cost. Default TTL/5, at most TTL/2. With a Margin above 2 s a waiter that is woken asks the
	// server, one more round trip, before Acquire returns.
	Margin time.Duration

	// MaxHold caps how long a lock is held, however long its holder runs: then Context ends with ErrLost, and the
	// lease is no longer renewed. 0 = no cap.
	MaxHold time.Duration

	// MinReplicas is how many replicas must have confirmed a lock before Acquire returns (WAIT): one more round
	// trip, on a connection of the blocking pool. With fewer the lock is given back and Acquire returns
	// ErrNotReplicated. It narrows what a failover can lose and does not close it: see the package
	// documentation. Default 0.
	MinReplicas int

	// Group puts all locks of this Locker into one cluster slot, so that All can take several at once. It is
	// part of a lock's identity: the same name in another group, or in none, is another lock.
	Group string

	// Name tells this Locker from others in metrics and traces. Default "default".
	Name string

	// Process names this process to others, in Inspect and Election.Leader: printable ASCII without spaces, up to 64
	// bytes. Default host name and process id. It is stored with each lock that is held and in each place of a queue.
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
		return o, fmt.Errorf("lock: Options.MaxHold is %v: it must not be negative; 0 means no cap", o.MaxHold)
	}
	if o.MinReplicas < 0 || o.MinReplicas > 100 {
		return o, fmt.Errorf("lock: Options.MinReplicas is %d: it must be from 0 to 100", o.MinReplicas)
	}
	if len(o.Group) > MaxName {
		return o, fmt.Errorf("lock: Options.Group is %d bytes long: at most %d", len(o.Group), MaxName)
	}
	if o.Name == "" {
		o.Name = "default"
	}
	if o.Process == "" {
		o.Process = defaultHolder()
	}
	if len(o.Process) > maxHolder || strings.IndexFunc(o.Process, unprintable) >= 0 {
		return o, fmt.Errorf("lock: Options.Process is %s: it must be printable ASCII without spaces, up to %d bytes", quoted(o.Process), maxHolder)
	}
	return o, nil
}

const maxHolder = 64

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// defaultHolder is the host's name and the process id.
func defaultHolder() string {
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

	return host[:min(len(host), maxHolder-12)] + ":" + strconv.Itoa(os.Getpid())
}
