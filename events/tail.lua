-- Reads a part of a stream for those who look at it without a group, within a budget.
--
-- KEYS  1 stream
-- ARGV  1 "up" (entries after a position, oldest first) or "down" (entries up to a position, newest first)
--       2 position  3 entries at most  4 bytes of bodies at most; one entry may have more
--       5… channels whose bodies are wanted ("*" = all)
-- Returns { the stream's last id, "1" if nothing was ever cut from it else "0", "1" if the end was reached else "0", id, channel, size, body or "", … }
-- Invariant: what it reads from the stream at once stays within the budget, judged by the entries before; it writes nothing.
local up, at = ARGV[1] == 'up', ARGV[2]
local left, budget = tonumber(ARGV[3]), tonumber(ARGV[4])
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
local step = 1
local from = up and '(' .. at or at
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
    local f = entry[2]
    local channel, body = '', ''
    if f[1] == 'c' and f[3] == 'e1' then channel, body = f[2], f[4] end
    bytes = bytes + #body + 64
    out[#out + 1] = entry[1]
    out[#out + 1] = channel
    out[#out + 1] = tostring(#body)
    out[#out + 1] = (all or wanted[channel]) and body or ''
    from = '(' .. entry[1]
  end
  if #some < step then
    out[3] = '1'
    break
  end
  left = left - #some
  budget = budget - bytes
  step = math.max(1, math.min(2 * step, 64, math.floor(budget / (bytes / #some))))
end
return out
