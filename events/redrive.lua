-- Moves dead letters of one partition and group to the ends of their channels' parked lists.
--
-- KEYS  1 dead letters (stream)  2 retry  3 tries  4 prefix of the parked lists  5 group (hash)  6 heads
-- ARGV  the dead letters' ids
-- Returns the number of dead letters that were found.
-- Invariant: a dead letter is removed and parked in one step; a second call finds nothing. An entry of
-- another program stays.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = 0
for _, id in ipairs(ARGV) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  local f = entry and entry[2]
  if f and f[1] == 'id' and f[3] == 'c' and f[6] and redis.call('XDEL', KEYS[1], id) == 1 then
    redis.call('HDEL', KEYS[3], f[2])
    redis.call('RPUSH', KEYS[4] .. f[4], f[2] .. ' ' .. f[5] .. ' ' .. f[6])
    redis.call('ZADD', KEYS[6], 'LT', string.match(f[2], '^%d+') or 0, f[4])
    if not redis.call('ZSCORE', KEYS[2], f[4]) then redis.call('ZADD', KEYS[2], now, f[4]) end
    found = found + 1
  end
end
if found > 0 and redis.call('HINCRBY', KEYS[5], 'parked', found) == 0 then redis.call('HDEL', KEYS[5], 'parked') end
return found
