package events

import "strings"

// Every live event is published to a second channel on the server, for the handlers with a pattern: to one of 256 glob
// partitions. The first segment of the channel's name selects 16 of them, the second segment one of these 16. So a pattern
// that begins with literal segments needs a part of the partitions only:
//
//   - 256 partitions: every event of the bus
//     users:*        16 partitions: the events of users: and a 16th of the others
//     users:42:*     1 partition: the events of users:42: and a 256th of the others
//
// The numbers decide where events are published, and never change.
const (
	globFan        = 16
	globPartitions = globFan * globFan
)

// segmentEnds are the bytes that end a segment of a channel's name.
const segmentEnds = ":./"

// cutSegment cuts the first segment off; ok says that something ended it.
func cutSegment(name string) (segment, rest string, ok bool) {
	i := strings.IndexAny(name, segmentEnds)
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// globPartition is the partition of a channel.
func globPartition(channel string) int {
	first, rest, ok := cutSegment(channel)
	if !ok { // only patterns that need all partitions match it
		return partitionOf(channel, globPartitions)
	}
	second, _, _ := cutSegment(rest)
	return partitionOf(first, globFan)*globFan + partitionOf(second, globFan)
}

// globPartitionsOf are the partitions of the channels that a pattern can match: from first, n of them.
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
