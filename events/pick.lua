-- Reads the bodies of some entries of a stream, for readers without a group.
--
-- KEYS  1 stream
-- ARGV  1 most bytes of bodies; a single body may have more  2… positions
-- Returns { channel, body, … }. Both are '' for a position without an event. Positions beyond the
-- budget are left out.
-- Invariant: all bodies but the first are within the budget. The script writes nothing.
local out, left = {}, tonumber(ARGV[1])
for i = 2, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  local f = entry and entry[2] or {}
  local event = f[1] == 'c' and f[3] == 'e1'
  local body = event and f[4] or ''
  left = left - #body
  if i > 2 and left < 0 then break end
  out[#out + 1] = event and f[2] or ''
  out[#out + 1] = body
end
return out
