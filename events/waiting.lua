-- Reads parked events of one channel, for tools.
--
-- KEYS  1 the parked list  2 tries (hash: id to attempts)
-- ARGV  1 events to skip  2 most events  3 most bytes to read; a single event may have more
--       4 bytes of an event up to which the reply has it whole  5 bytes of a larger event
-- Returns { events in the list, then for each event: id, field, stored bytes, body, attempts }.
-- Invariant: the script writes nothing.
local skip, left, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local whole, clip = tonumber(ARGV[4]), tonumber(ARGV[5])
local out = { redis.call('LLEN', KEYS[1]) }
while left > 0 and budget > 0 do
  local item = redis.call('LRANGE', KEYS[1], skip, skip)[1]
  if not item then break end
  local _, last, id, field = string.find(item, '^(%S+) (%S+) ')
  local body = last and string.sub(item, last + 1) or item
  local size = #body
  if size > whole then body = string.sub(body, 1, clip) end
  for _, part in ipairs({ id or '', field or '?', size, body, id and redis.call('HGET', KEYS[2], id) or '0' }) do
    out[#out + 1] = part
  end
  skip, left, budget = skip + 1, left - 1, budget - #item
end
return out
