-- Answers a miss: the value if there is one by now, else leave to load it.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] token of this load, never used before
-- ARGV[2] lease in ms
-- ARGV[3] '' or '=' and the head (12 bytes) of a value that the caller can't use
--
-- Returns the value; or an integer:
--   > 0  granted; the server's time in ms
--   = 0  held down: load, but nothing will be stored
--   < 0  another load holds the lease, for that many ms more
--
-- Invariant: while a lease lives, only the load with its token can write the value by fill.lua.
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' and ARGV[3] ~= '=' .. value:sub(1, 12) then
  return value
end
local holder = redis.pcall('GET', KEYS[2])
if type(holder) == 'string' then
  if holder == 'hold' then
    return 0
  end
  local left = redis.call('PTTL', KEYS[2])
  if left >= 0 then
    return -math.max(left, 1)
  end
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local now = redis.call('TIME')
return now[1] * 1000 + math.floor(now[2] / 1000)
