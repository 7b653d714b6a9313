-- Reads a part of a stream for tools, within a budget: a partition's stream, or dead letters.
--
-- KEYS  1 stream
-- ARGV  1 "up" (oldest first) or "down" (newest first)
--       2 bound: a position, "(" and a position, "-" or "+"  3 most entries
--       4 most stored bytes to read; a single entry may have more
--       5 bytes of an entry up to which the reply has the whole entry  6 bytes of each value of a larger entry
-- Returns { "1" if the end was reached, else "0", then for each entry: id, stored bytes, {field, value…} }.
--   An entry has at most 64 fields and values in the reply. ARGV 6 = 0: the reply has no fields.
-- Invariant: the script writes nothing, and reads within its budget: see within.lua.
local whole, clip = tonumber(ARGV[5]), tonumber(ARGV[6])
local out = { '0' }
local ended = readWithin(ARGV[1] == 'up', ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), function(id, parts)
  local size, fields = 0, {}
  for _, part in ipairs(parts) do size = size + #part end
  for i = 1, math.min(#parts, clip > 0 and 64 or 0) do
    local part = parts[i]
    fields[i] = (size > whole and #part > clip) and string.sub(part, 1, clip) or part
  end
  out[#out + 1] = id
  out[#out + 1] = size
  out[#out + 1] = fields
  return size
end)
if ended then out[1] = '1' end
return out
