package observe

import "fmt"

// Quantity is what a histogram measures. All quantities are durations.
type Quantity uint8

const (
	// Duration is the time from the start of an operation to its end. An [Observer] measures it
	// between its two calls.
	Duration Quantity = iota
	// Wait is the time that a call waited in the queue of a lock, a semaphore, a read-write lock or
	// a rate limit, whether it got what it waited for or not. A call that does not wait is not
	// recorded.
	Wait
	// Hold is the time from the acquisition of a lock to its release. A lock that was lost is not
	// recorded: the metric redstart.lock.lost counts it.
	Hold
	// Lag is the age of an event when its first attempt starts, by the clock of this process. The
	// age counts from the server's timestamp on a durable bus, and from the producer's on a live
	// bus. A negative age is recorded as 0.
	Lag
)

// String returns the name of the quantity, such as "wait".
func (q Quantity) String() string {
	switch q {
	case Duration:
		return "duration"
	case Wait:
		return "wait"
	case Hold:
		return "hold"
	case Lag:
		return "lag"
	}
	return fmt.Sprintf("Quantity(%d)", uint8(q))
}

// Histogram describes the histogram of a [Quantity]. Adapters create one instrument for each
// element of [Histograms].
//
// Each histogram has the labels pattern, name, verb and subscriber, from the fields of the
// [Operation]. The histogram of [Duration] also has the label error: the class of the operation's
// error, as redstart.ErrorType returns it. An empty label is omitted.
type Histogram struct {
	Quantity Quantity
	Name     string    // "redstart.operation.duration"
	Help     string    // one sentence that ends with a full stop
	Unit     string    // of UCUM: "s"
	Bounds   []float64 // inclusive upper bounds of the buckets, ascending
}

// Histograms returns the histograms of all quantities. The index is the [Quantity]. The slice is a
// copy.
func Histograms() []Histogram {
	return []Histogram{
		Duration: {Duration, "redstart.operation.duration", "Duration of operations.", "s",
			[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}},
		Wait: {Wait, "redstart.operation.wait", "Time in the queue of a lock, a semaphore or a limit.", "s",
			[]float64{.0005, .001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}},
		Hold: {Hold, "redstart.lock.hold", "Time from the acquisition of a lock to its release.", "s",
			[]float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 1800}},
		Lag: {Lag, "redstart.events.delivery.lag", "Age of an event when its first attempt starts.", "s",
			[]float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 60, 300, 1800, 3600}},
	}
}
