-- Registers the handlers of one version of a group, and returns the handlers of all its versions.
--
-- KEYS  1 topics of the group (hash: digest to "<first ms> <last ms> <handlers>"; seen: ms)
-- ARGV  1 digest of the handlers  2 the handlers ("" = too large to store)
--       3 a version that was not seen for this time is removed, ms
--       4 a version that was not seen for this time gets a new first time, ms  5 most versions
-- Returns { now ms, { digest, first ms, last ms, handlers, … } }.
-- Invariant: the caller's version is kept, and the other versions that were seen last.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', KEYS[1], 'seen') -- after its first write, a script may write although the memory is full
local flat, all, first = redis.call('HGETALL', KEYS[1]), {}, now
for i = 1, #flat, 2 do
  local began, last, handlers = string.match(flat[i + 1], '^(%d+) (%d+) (.*)$')
  if flat[i] == ARGV[1] then
    if began and now - last < tonumber(ARGV[4]) then first = tonumber(began) end
  elseif not began or now - last >= tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], flat[i])
  else
    all[#all + 1] = { flat[i], began, last, handlers }
  end
end
table.sort(all, function(a, b)
  if a[3] ~= b[3] then return tonumber(a[3]) > tonumber(b[3]) end
  return a[1] < b[1]
end)
for i = #all, tonumber(ARGV[5]), -1 do
  redis.call('HDEL', KEYS[1], all[i][1])
  all[i] = nil
end
redis.call('HSET', KEYS[1], 'seen', string.format('%.0f', now), ARGV[1], string.format('%.0f %.0f %s', first, now, ARGV[2]))
local out = { ARGV[1], string.format('%.0f', first), string.format('%.0f', now), ARGV[2] }
for _, v in ipairs(all) do
  for _, part in ipairs(v) do out[#out + 1] = part end
end
return { string.format('%.0f', now), out }
