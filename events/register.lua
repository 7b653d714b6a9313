-- Registers a group with a partition when a subscriber starts. Later events are kept for the group.
--
-- KEYS  1 group (hash: see poll.lua)  2 stream  3 groups (set)
-- ARGV  1 group  2 start of a new group (an id or "$")  3 digest of the subscriber's handlers
-- Returns 1 if the group is new, 0 if it existed, 2 if it was registered and the stream had lost it. The
-- group then starts from the beginning; ARGV 2 does not matter.
-- Invariant: a registered group never skips events. The group's stamp (topics) changes when a version
-- registers that is not the last one.
redis.call('SREM', KEYS[3], '') -- changes nothing; a script that has written may go on writing when memory is full
local stamp = redis.call('HGET', KEYS[1], 'topics') or ''
if string.sub(stamp, 1, #ARGV[3] + 1) ~= ARGV[3] .. ' ' then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'topics', string.format('%s %.0f', ARGV[3], time[1] * 1000000 + time[2]))
end
local known = redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1
local made = redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], known and '0' or ARGV[2], 'MKSTREAM')
if made.err then
  if not string.find(made.err, 'BUSYGROUP', 1, true) then return redis.error_reply(made.err) end
  if not known then redis.call('SADD', KEYS[3], ARGV[1]) end
  return 0
end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('HSETNX', KEYS[1], 'fence', '0')
redis.call('HDEL', KEYS[1], 'read', 'last')
local at = known and '0' or ARGV[2]
if at == '$' or at == '0' then
  local info, n = redis.call('XINFO', 'STREAM', KEYS[2]), {}
  for i = 1, #info, 2 do n[info[i]] = info[i + 1] end
  if n['entries-added'] then
    redis.call('HSET', KEYS[1], 'read', string.format('%.0f', n['entries-added'] - (at == '0' and n['length'] or 0)),
      'last', at == '0' and '0-0' or n['last-generated-id'])
  end
end
return known and 2 or 1
