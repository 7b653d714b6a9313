-- Reads a part of a stream within a budget, for readers without a group.
--
-- KEYS  1 stream
-- ARGV  1 "up" (entries after a position, oldest first) or "down" (entries up to a position, newest first)
--       2 position  3 most entries  4 most bytes of bodies; a single entry may have more
--       5… channels whose bodies are needed ("*" = all)
-- Returns { last id of the stream, "1" if no entry was ever cut, "1" if the end was reached,
-- id, channel, size, body or "", … }. The opposite of "1" is "0".
-- Invariant: the script writes nothing, and reads within its budget: see within.lua.
local up, at = ARGV[1] == 'up', ARGV[2]
if redis.call('EXISTS', KEYS[1]) == 0 then return { '0-0', '1', '1' } end
local n = {}
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do n[info[i]] = info[i + 1] end
local last = n['last-generated-id']
if not last or last == '' then last = '0-0' end
local wanted, all = {}, false
for i = 5, #ARGV do
  if ARGV[i] == '*' then all = true end
  wanted[ARGV[i]] = true
end
local out = { last, n['entries-added'] and n['entries-added'] == n['length'] and '1' or '0', '0' }
local ended = readWithin(up, up and '(' .. at or at, tonumber(ARGV[3]), tonumber(ARGV[4]), function(id, f)
  local channel, body = '', ''
  if f[1] == 'c' and f[3] == 'e1' then channel, body = f[2], f[4] end
  out[#out + 1] = id
  out[#out + 1] = channel
  out[#out + 1] = tostring(#body)
  out[#out + 1] = (all or wanted[channel]) and body or ''
  return #body
end)
if ended then out[3] = '1' end
return out
