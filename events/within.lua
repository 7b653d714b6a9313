-- Reads a part of a stream within a budget: a part of look.lua and tail.lua.
--
-- KEYS  1 stream
-- readWithin calls add for each entry from a bound on, oldest first (up) or newest first. add returns how many bytes of
-- the entry count. It reads at most left entries, and ends after budget bytes; a single entry may have more. It returns
-- true if it reached the end of the stream. One XRANGE stays within the budget, estimated from the entries before.
local function readWithin(up, from, left, budget, add)
  local step = 1
  while left > 0 and budget > 0 do
    local some
    step = math.min(step, left)
    if up then
      some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', step)
    else
      some = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', step)
    end
    local bytes = 0
    for _, entry in ipairs(some) do bytes = bytes + add(entry[1], entry[2]) + 64 end
    if #some < step then return true end
    from = '(' .. some[step][1]
    left, budget = left - step, budget - bytes
    step = math.max(1, math.min(2 * step, 64, math.floor(budget / (bytes / step))))
  end
  return false
end
