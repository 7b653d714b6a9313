package events

import "strings"

// Every live event is also published to one of 256 glob partitions, for the handlers with a
// pattern. A glob partition is a channel on the server. The first segment of the event's channel
// selects 16 partitions, and the second segment selects one of these 16. So a pattern that begins
// with literal segments needs only a part of the partitions:
//
//	pattern      partitions   receives
//	*            256          all events of the bus
//	users:*      16           the events of users: and a 16th of the others
//	users:42:*   1            the events of users:42: and a 256th of the others
//
// These numbers decide where events are published, so they never change.
const (
	globFan        = 16
	globPartitions = globFan * globFan
)

// segmentEnds are the bytes that end a segment of a channel name.
const segmentEnds = ":./"

// cutSegment cuts the first segment off. The result ok is false if no byte ends it.
func cutSegment(name string) (segment, rest string, ok bool) {
	i := strings.IndexAny(name, segmentEnds)
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// globPartition returns the glob partition of a channel.
func globPartition(channel string) int {
	first, rest, ok := cutSegment(channel)
	if !ok { // only patterns that need all partitions match this channel
		return partitionOf(channel, globPartitions)
	}
	second, _, _ := cutSegment(rest)
	return partitionOf(first, globFan)*globFan + partitionOf(second, globFan)
}

// globPartitionsOf returns the partitions of all channels that a pattern can match: n partitions
// from first on.
func globPartitionsOf(pattern string) (first, n int) {
	literal := pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		literal = pattern[:i]
	}
	segment, rest, ok := cutSegment(literal)
	if !ok {
		return 0, globPartitions
	}
	row := partitionOf(segment, globFan) * globFan
	second, _, ok := cutSegment(rest)
	if !ok {
		return row, globFan
	}
	return row + partitionOf(second, globFan), 1
}
