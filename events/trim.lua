-- Cuts what nobody needs from a partition's stream.
--
-- KEYS  1 stream  2 groups (set of registered groups)
-- ARGV  1 retention, ms (0 = until every group has acknowledged)  2 entries to keep at most (0 = any number)
--       3 how long entries are kept while no group is registered, ms
-- Returns how many entries were cut, or -1 if a registered group is missing and nothing may be cut.
-- Invariant (E8): without retention and cap, no entry is cut that a registered group has not acknowledged.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
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
    if not there[name] then return -1 end
  end
  if floor then cut = cut + redis.call('XTRIM', KEYS[1], 'MINID', floor) end
  return cut
end
if retention > 0 then cut = cut + redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', now - retention)) end
if cap > 0 then cut = cut + redis.call('XTRIM', KEYS[1], 'MAXLEN', cap) end
return cut
