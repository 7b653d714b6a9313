package events

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

// dumpScript reads what a server has of one channel of a group.
//
// KEYS  1 stream  2 lease  3 retry  4 tries  5 group  6 parked list of the channel  7 dead letters
// ARGV  1 group  2 channel  3 text of the event that is missing
// Returns lines of text.
var dumpScript = script.New(`
local out = {}
local function say(...) out[#out + 1] = table.concat({...}, ' ') end
local time = redis.call('TIME')
say('now', time[1] * 1000 + math.floor(time[2] / 1000))
say('lease', redis.call('GET', KEYS[2]) or 'none', redis.call('PTTL', KEYS[2]))
say('group', unpack(redis.call('HGETALL', KEYS[5])))
say('stream length', redis.call('XLEN', KEYS[1]))
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #info do info[i] = tostring(info[i]) end
  say('group of the stream:', unpack(info))
end
local mine, first = 0, ''
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)) do
  local entry = redis.call('XRANGE', KEYS[1], p[1], p[1])[1]
  if entry and entry[2][2] == ARGV[2] then
    mine = mine + 1
    if #first < 200 then first = first .. ' ' .. p[1] .. '/' .. p[4] end
  end
end
say('pending', redis.call('XPENDING', KEYS[1], ARGV[1])[1], 'of the channel', mine, first)
local retries = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
say('retry', unpack(retries))
local n = redis.call('LLEN', KEYS[6])
local parked = ''
for _, it in ipairs(redis.call('LRANGE', KEYS[6], 0, 4)) do
  local id = string.match(it, '^%S+')
  parked = parked .. ' ' .. id .. '/' .. (redis.call('HGET', KEYS[4], id) or '0')
end
say('parked', n, parked)
local function places(id, text)
  if text and string.find(text, ARGV[3], 1, true) then return id .. ' ' end
  return ''
end
local at, found = '-', ''
while true do
  local page = redis.call('XRANGE', KEYS[1], at, '+', 'COUNT', 64)
  for _, entry in ipairs(page) do found = found .. places(entry[1], entry[2][4]) at = '(' .. entry[1] end
  if #page < 64 then break end
end
say('missing event', ARGV[3], 'in the stream:', found)
found = ''
for i = 0, n - 1 do found = found .. places(i, redis.call('LINDEX', KEYS[6], i)) end
say('in the parked list at:', found)
for _, entry in ipairs(redis.call('XRANGE', KEYS[7], '-', '+')) do
  local f = {}
  for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
  if f.c == ARGV[2] and not string.find(f.cause, 'poison', 1, true) then say('dead letter', entry[1], 'of', f.id, f.attempts, f.cause, f.at, string.match(f.e1 or '', '"id":"[^"]*"') or '') end
end
return out`)

// Dump is what the server has of a channel of a group, for messages of failed tests. id is the id
// of an event that is missing.
func (d *Durable) Dump(ctx context.Context, group, channel, id string) string {
	p := d.partition(channel)
	k := d.groupKeys(p, group)
	msg, err := d.core.Eval(ctx, dumpScript, []string{p.stream, k.lease, k.retry, k.tries, k.group, k.parked +
		channel, k.dead}, []string{group, channel, `"id":"` + id + `"`})
	if err != nil {
		return err.Error()
	}
	lines, err := msg.AsStrSlice()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("channel %s, partition %s:\n  %s", channel, p.tag, strings.Join(lines, "\n  "))
}

// DumpConsumers is what the subscribers of this process hold, for messages of failed tests.
func (d *Durable) DumpConsumers() string {
	var b strings.Builder
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.runs {
		r.mu.Lock()
		fmt.Fprintf(&b, "member %s: %d slots free, %d ready, %d runnable, %d workers\n", r.member, r.free,
			r.ready.len(), r.runnable.len(), r.workers)
		for _, i := range slices.Sorted(maps.Keys(r.consumers)) {
			c := r.consumers[i]
			fmt.Fprintf(&b, " partition %d: phase %v, token %s, fence %d, held %d, bytes %d, weight %d, running %d, "+
				"expired %v, stalled %v, read skipped %v, tip %s, "+
				"due in %v, until %v, acks %d, rest %d, to start %d, to park %d, polls %d\n",
				i, c.phase, c.token, c.fence, c.held, c.bytes, c.weight, c.running, c.expired, c.stalled,
				c.readSkipped, c.tip, time.Until(c.due), time.Until(c.until.at), len(c.outcomes.acks),
				len(c.outcomes.rest), len(c.toStart), len(c.toPark), c.polls)
			for _, channel := range slices.Sorted(maps.Keys(c.queues)) {
				q, first := c.queues[channel], ""
				if q.events.len() > 0 {
					e := q.events.at(0)
					first = fmt.Sprintf("%s, %d attempts, parked %v, stub %v, size %d, field %s, interrupted %v",
						e.id, e.attempts, e.parked, e.stub, e.size, e.field, e.interrupted != nil)
				}
				fmt.Fprintf(&b, "  %s: %v, %v, %d queued, %d begun, %d asked, hungry %v, remote %v, first %s\n",
					channel, q.stage, q.request, q.events.len(), q.started, q.counting, q.needsMore, c.handedOut[q], first)
			}
		}
		r.mu.Unlock()
	}
	return b.String()
}
