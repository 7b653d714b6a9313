-- Makes a stored value stale at once, without reading it.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] for how long no load may store, in ms; '0' for none
--
-- Returns 1.
--
-- Invariant: the lease goes with it, so that no load that is under way can store what it asked for before.
local length = redis.pcall('STRLEN', KEYS[1])
if length ~= 0 then
  -- The soft expiry in the header. What is no entry goes, and so does an entry that a full server does not let us change.
  if type(length) ~= 'number' or length < 40 or type(redis.pcall('SETRANGE', KEYS[1], 20, '\0\0\0\0\0\0\0\0')) ~= 'number' then
    redis.call('DEL', KEYS[1])
  end
end
if ARGV[1] ~= '0' then
  redis.call('SET', KEYS[2], 'hold', 'PX', ARGV[1])
elseif redis.pcall('GET', KEYS[2]) ~= 'hold' then
  redis.call('DEL', KEYS[2])
end
return 1
