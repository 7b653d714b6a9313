-- Reads a part of a stream for tools, within a budget: a partition's stream, or dead letters.
--
-- KEYS  1 stream
-- ARGV  1 "up" (oldest first) or "down" (newest first)
--       2 bound: a position, "(" and a position, "-" or "+"  3 most entries
--       4 most stored bytes to read; a single entry may have more
--       5 bytes of an entry up to which the reply has the whole entry  6 bytes of each value of a larger entry
-- Returns { "1" if the end was reached, else "0", then for each entry: id, stored bytes, {field, value…} }.
--   An entry has at most 64 fields and values in the reply. ARGV 6 = 0: the reply has no fields.
-- Invariant: one XRANGE stays within the budget, estimated from the size of the entries before. The
-- script writes nothing.
local up, from = ARGV[1] == 'up', ARGV[2]
local left, budget, whole, clip = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local out, step = { '0' }, 1
while left > 0 and budget > 0 do
  local some
  step = math.min(step, left)
  if up then
    some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', step)
  else
    some = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', step)
  end
  local bytes = 0
  for _, entry in ipairs(some) do
    local size, fields = 0, {}
    for _, part in ipairs(entry[2]) do size = size + #part end
    for i = 1, math.min(#entry[2], clip > 0 and 64 or 0) do
      local part = entry[2][i]
      fields[i] = (size > whole and #part > clip) and string.sub(part, 1, clip) or part
    end
    bytes = bytes + size + 64
    out[#out + 1] = entry[1]
    out[#out + 1] = size
    out[#out + 1] = fields
    from = '(' .. entry[1]
  end
  if #some < step then
    out[1] = '1'
    break
  end
  left = left - #some
  budget = budget - bytes
  step = math.max(1, math.min(2 * step, 64, math.floor(budget / (bytes / #some))))
end
return out
