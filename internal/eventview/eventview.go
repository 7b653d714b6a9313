// Package eventview describes what a durable bus keeps on the server, for package inspect.
//
// Package events owns the formats and the scripts. It registers a function here when it is
// initialized, so that its public API stays free of methods that only tools need. Only packages of
// this repository can import this package.
package eventview

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// Event is a stored event. Its strings may hold any bytes.
type Event struct {
	Partition int
	Position  string // id in the stream of the partition
	Channel   string
	Format    string // of the envelope: "e1" is this release, "?" is another program
	Size      int    // stored bytes
	// Problem is the reason why the fields that follow are empty: the envelope is of another
	// format, is malformed, or is larger than the limit of the read.
	Problem string

	ID, Type, Source, TraceParent string
	Time                          time.Time
	Data                          []byte // nil without Read.Data
	DataBytes                     int    // 0 if the size of the data is not known
}

// DeadLetter is an event that a group has given up.
type DeadLetter struct {
	Letter   string // id for Redrive and Drop: "<partition>.<entry>"
	Attempts int
	Cause    string
	Died     time.Time
	Event    Event
}

// Partition is the state of one partition of a bus.
type Partition struct {
	Index                   int
	Events, Delayed, Groups int64
	Owner                   string // process that owns the partition for the group; "" for none
	OwnerStarted            time.Time
	LeaseLeft               time.Duration
	Counts                  Counts // of the group
	Oldest                  time.Duration
	Problem                 string // it can't be read, and the other fields are empty; "" if it was
}

// Counts are the events that wait for a group.
type Counts struct{ Unread, Pending, Parked, Dead int64 }

// Group is the state of a consumer group.
type Group struct {
	Name              string
	Processes         int
	Seen, PausedSince time.Time // zero: never, not paused
	Counts            Counts
	Delayed           int64
	Oldest            time.Duration
	Problem           string // some partitions can't be read; "" if all were
}

// Blocked is a channel of a group whose events wait behind a failed event, or in a long list.
type Blocked struct {
	Partition int
	Channel   string
	Waiting   int64     // events in its list
	Held      bool      // the owner of the partition holds the list
	Due       time.Time // next attempt; zero if Held
	Head      string    // position of the first event of the list; "" if it is not known
	Attempts  int       // of the first event
}

// Waiting is one part of the parked events of a channel.
type Waiting struct {
	Events   []Event // the first of the list first
	Attempts []int   // by index of Events
	Total    int64   // events in the list
}

// Read selects events of a partition.
type Read struct {
	Partition int
	Newest    bool   // newest first
	After     string // position before the first event to return; "" = from the end of the log that Newest names
	Inclusive bool   // return the event at After too
	Limit     int    // most events
	Bytes     int    // most stored bytes to read; one event may have more
	Data      bool   // return the data
}

// Page is the result of one Read.
type Page struct {
	Events []Event
	Last   string // position of the last event that was read; "" if none
	End    bool   // there is no further event now
	Err    error
}

// Letters is one page of dead letters.
type Letters struct {
	Items   []DeadLetter
	Next    string // cursor of the next page; "" after the last one
	Scanned int
}

// Changes are the repairs of a bus.
type Changes interface {
	// Redrive gives dead letters to the group again and returns how many were found. RedriveAll
	// redrives those that are there when it begins.
	Redrive(ctx context.Context, group string, letters []string) (int, error)
	RedriveAll(ctx context.Context, group string) (int, error)
	// Drop deletes dead letters and returns how many were found.
	Drop(ctx context.Context, group string, letters []string) (int, error)
	DropAll(ctx context.Context, group string) (int, error)
	// SetPaused reports whether the state has changed.
	SetPaused(ctx context.Context, group string, on bool) (changed bool, err error)
	DropGroup(ctx context.Context, group string) error
}

// Bus is a durable bus.
type Bus interface {
	Changes
	Partitions() int
	PartitionOf(channel string) int
	// Describe returns partitions from the index first on. It fails if none can be read.
	Describe(ctx context.Context, group string, first, limit int) ([]Partition, error)
	// Groups returns groups by name, after a name. It fails if no partition can be read.
	Groups(ctx context.Context, after string, limit int) ([]Group, error)
	// Group returns one group, and whether a partition knows it.
	Group(ctx context.Context, name string) (g Group, known bool, err error)
	// Read makes one round trip per node for all reads. Each page has its own error.
	Read(ctx context.Context, reads []Read) []Page
	Dead(ctx context.Context, group, after string, limit int, data bool) (Letters, error)
	// Letter returns one dead letter with its data, and whether there is one with this id.
	Letter(ctx context.Context, group, letter string) (DeadLetter, bool, error)
	Blocked(ctx context.Context, group string, limit int) ([]Blocked, error)
	// Waiting returns parked events of a channel, from an offset in its list.
	Waiting(ctx context.Context, group, channel string, offset, limit int, data bool) (Waiting, error)
}

// ErrNoBus is returned by Open if the bus was never used.
var ErrNoBus = errors.New("the bus was never used in this namespace")

// BusTag is the user key of the hash that each durable bus has, in the key space of package events.
const BusTag = "bus"

// open is set once, by package events, before any client exists.
var open func(ctx context.Context, c *core.Core, name string) (Bus, error)

// Register sets the function behind [Open]. Only package events calls it, in a variable
// declaration, and the result is of no use.
func Register(f func(ctx context.Context, c *core.Core, name string) (Bus, error)) struct{} {
	if open != nil {
		panic("eventview: registered twice")
	}
	open = f
	return struct{}{}
}

// Open returns the bus with a name: one round trip. Errors: [ErrNoBus] and the classes of package
// fault. The program must import package events.
func Open(ctx context.Context, c *core.Core, name string) (Bus, error) { return open(ctx, c, name) }
