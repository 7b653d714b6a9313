-- Counts the events that wait for a group in one partition.
--
-- KEYS  1 stream  2 groups (set)  3 group (hash: see poll.lua)  4 heads (sorted set: see poll.lua)
--       5 prefix of the parked lists  6 dead letters (stream)  7 delayed (sorted set)  8 cut (hash)
-- ARGV  1 group  2 "look": write nothing, for users who may only read
-- Returns { 1 if the group is registered, unread, pending, parked, dead, delayed, ms of the oldest event or "", now ms }.
-- Invariant: it changes only heads: it corrects each score that it reads. It reads at most 64 heads or 1 MiB.
local look = ARGV[2] == 'look'
if not look then redis.call('ZREMRANGEBYSCORE', KEYS[4], 1, 0) end -- changes nothing; a script that has written may go on writing when memory is full
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local group = ARGV[1]
local known = redis.call('HMGET', KEYS[3], 'read', 'last', 'parked')
local unread, pending, oldest = 0, 0, nil
local function older(id)
  local ms = tonumber(string.match(id, '^(%d+)'))
  if ms and (not oldest or ms < oldest) then oldest = ms end
end

if redis.call('EXISTS', KEYS[1]) == 1 then
  local read, last = tonumber(known[1] or ''), known[2]
  local n = {}
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do n[info[i]] = info[i + 1] end
  if read and last then
    unread = n['entries-added'] - read - tonumber(redis.call('HGET', KEYS[8], group) or '0')
  else
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local g = {}
      for i = 1, #info, 2 do g[info[i]] = info[i + 1] end
      if g['name'] == group then
        last, unread = g['last-delivered-id'], g['lag'] or 0
      end
    end
  end
  unread = math.max(math.min(unread, n['length']), 0)
  if unread > 0 and last then
    local first = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1]
    if first then older(first[1]) end
  end
  local summary = redis.pcall('XPENDING', KEYS[1], group)
  if not summary.err then
    pending = summary[1]
    if summary[2] then older(summary[2]) end
  end
end

local bytes, looks, exact = 0, 0, false
-- least returns the time of the oldest head and corrects no score. A score is at most the time of its head.
local function least()
  local best
  while true do
    local next = redis.call('ZRANGE', KEYS[4], looks, looks, 'WITHSCORES')
    if not next[1] or best and tonumber(next[2]) >= best then return best end
    if looks == 64 or bytes >= 1048576 then return tonumber(next[2]) end
    local head = redis.call('LRANGE', KEYS[5] .. next[1], 0, 0)[1]
    local ms = head and tonumber(string.match(head, '^%d+'))
    if ms and (not best or ms < best) then best = ms end
    looks, bytes = looks + 1, bytes + (head and #head or 0)
  end
end

local top = look and {} or redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
while top[1] and not exact and looks < 64 and bytes < 1048576 do
  looks = looks + 1
  local head = redis.call('LRANGE', KEYS[5] .. top[1], 0, 0)[1]
  local ms = head and string.match(head, '^%d+')
  bytes = bytes + (head and #head or 0)
  exact = ms == top[2]
  if not head then
    redis.call('ZREM', KEYS[4], top[1])
  elseif not exact then
    redis.call('ZADD', KEYS[4], ms, top[1])
  end
  if not exact then top = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES') end
end
if look then top = { 1, least() } end
if top[2] then older(top[2]) end -- beyond the budget the time may be too early
return { redis.call('SISMEMBER', KEYS[2], group), unread, pending, tonumber(known[3] or '0'), redis.call('XLEN', KEYS[6]),
  redis.call('ZCARD', KEYS[7]), oldest and string.format('%.0f', oldest) or '', string.format('%.0f', now) }
