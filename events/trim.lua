-- Cuts entries that no group needs from a partition's stream.
--
-- KEYS  1 stream  2 groups (set of registered groups)  3 cut (hash: group to number of missed events)
-- ARGV  1 retention, ms (0 = until every group has acknowledged)  2 entries to keep, at most (0 = no limit)
--       3 retention while no group is registered, ms
--       4 entries to read in one command  5 bytes to read before the script returns
-- Returns { number of cut entries, or -1 if a registered group is missing and nothing may be cut;
--         1 if there is more to cut }.
-- Invariant: without retention and cap, an entry stays until all registered groups have acknowledged it.
-- With them, cut entries that a registered group had not read are counted for that group (E8).
if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, 0 } end
local function next_id(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%.0f', seq + 1)
end
local function below(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
  return ams < bms or ams == bms and aseq < bseq
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cut = 0
local registered = redis.call('SMEMBERS', KEYS[2])
local retention, cap = tonumber(ARGV[1]), tonumber(ARGV[2])
if #registered == 0 then
  if retention == 0 and cap == 0 then retention = tonumber(ARGV[3]) end
elseif retention == 0 and cap == 0 then
  local there, floor = {}, nil
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local g = {}
    for i = 1, #info, 2 do g[info[i]] = info[i + 1] end
    there[g['name']] = true
    local first = next_id(g['last-delivered-id'])
    if g['pending'] > 0 then first = redis.call('XPENDING', KEYS[1], g['name'])[2] end
    if redis.call('SISMEMBER', KEYS[2], g['name']) == 1 and first and (not floor or below(first, floor)) then floor = first end
  end
  for _, name in ipairs(registered) do
    if not there[name] then return { -1, 0 } end
  end
  if floor then cut = cut + redis.call('XTRIM', KEYS[1], 'MINID', floor) end
  return { cut, 0 }
end
local behind = {} -- groups that have not read everything
local last = '0-0'
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local g = {}
  for i = 1, #info, 2 do g[info[i]] = info[i + 1] end
  if below(g['last-delivered-id'], last) and redis.call('SISMEMBER', KEYS[2], g['name']) == 1 then
    behind[#behind + 1] = { g['name'], g['last-delivered-id'] }
  end
end
local minid = string.format('%.0f', math.max(now - retention, 0))
if #behind == 0 then
  if retention > 0 then cut = cut + redis.call('XTRIM', KEYS[1], 'MINID', minid) end
  if cap > 0 then cut = cut + redis.call('XTRIM', KEYS[1], 'MAXLEN', cap) end
  return { cut, 0 }
end
-- Unread entries are counted before they are cut. A group that has read none of the stored entries misses
-- as many as are cut. For a group that has read some of them the script compares ids, few at a time: the
-- server returns no id without its body.
local missed, chunk, left, more = {}, tonumber(ARGV[4]), tonumber(ARGV[5]), 0
local function look(count, last)
  local some = redis.call('XRANGE', KEYS[1], '-', last, 'COUNT', count)
  for _, entry in ipairs(some) do
    for _, text in ipairs(entry[2]) do left = left - #text end
  end
  return some
end
local function miss(g, n) missed[g[1]] = (missed[g[1]] or 0) + n end
while true do
  local first = look(1, '+')[1]
  local all = first ~= nil
  for _, g in ipairs(behind) do all = all and below(g[2], first[1]) end
  if all then
    local n = 0
    if retention > 0 then n = n + redis.call('XTRIM', KEYS[1], 'MINID', minid) end
    if cap > 0 then n = n + redis.call('XTRIM', KEYS[1], 'MAXLEN', cap) end
    for _, g in ipairs(behind) do miss(g, n) end
    cut = cut + n
    break
  end
  local excess, some = redis.call('XLEN', KEYS[1]) - cap, {}
  if cap > 0 and excess > 0 then
    some = look(math.min(excess, chunk), '+')
  elseif retention > 0 then
    some = look(chunk, string.format('%.0f', math.max(now - retention - 1, 0)))
  end
  if #some == 0 then break end
  for _, g in ipairs(behind) do
    for _, entry in ipairs(some) do
      if below(g[2], entry[1]) then miss(g, 1) end
    end
  end
  cut = cut + redis.call('XTRIM', KEYS[1], 'MINID', next_id(some[#some][1]))
  if left <= 0 then
    more = 1
    break
  end
end
for name, n in pairs(missed) do
  if n > 0 then redis.call('HINCRBY', KEYS[3], name, n) end
end
return { cut, more }
