-- Makes a stored value stale, without reading it.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] hold-down: time in ms in which no load may store; '0' for none
--
-- Returns 1.
--
-- Invariant: the script removes the lease, so that no running load can store an older value.
local length = redis.pcall('STRLEN', KEYS[1])
if length ~= 0 then
  -- Overwrites the soft expiry in the header. A value that is no entry is deleted, and so is an entry
  -- that a full server refuses to change.
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
