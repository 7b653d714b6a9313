-- Ends all records of one user, or all but one session and what is linked to it, at most so many per call.
--
-- KEYS  index
-- ARGV  publish command · ms for which to keep a mark for the replicas, 0 = none · id to keep or '' · at most
-- Returns how many sessions ended, and 1 if there is more to do.
--
-- Invariant: when 0 remains, no record that was in the index lives, but the one to keep.

local index, keep, limit = KEYS[1], ARGV[3], tonumber(ARGV[4])
local link, n, done, kept = '', 0, 0, 0
if keep ~= '' then
  local v = redis.call('GET', index .. ':s:' .. keep)
  if v and #v >= 114 then link = string.sub(v, 67, 82) end
end
local all = redis.call('ZRANGE', index, 0, limit + 2)
for _, m in ipairs(all) do
  local id = string.sub(m, 18)
  if id == keep or id == link then
    kept = kept + 1
  elseif done < limit then
    if finish(index, id) and string.sub(m, 17, 17) == 'u' then n = n + 1 end
    redis.call('ZREM', index, m) -- also when the record had expired, or is of another format
    done = done + 1
  end
end
if ARGV[2] ~= '0' then redis.pcall('SET', index .. ':mark', '1', 'PX', ARGV[2]) end
tell(index, ARGV[1])
local more = 0
if #all > done + kept then more = 1 end
return {n, more}
