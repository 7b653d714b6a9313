-- Ends records of one user by id, each with the one linked to it.
--
-- KEYS  index
-- ARGV  publish command · ms for which to keep a mark for the replicas, 0 = none · ids …
-- Returns how many of the ids named something that lived.
--
-- Invariant: afterwards neither the session nor its remember-me token exists, in whatever state it was.

local index, n = KEYS[1], 0
for i = 3, #ARGV do
  local id, v = ARGV[i], both(KEYS[1], ARGV[i])
  if not v then
    -- The session has expired, but its remember-me token would bring it back.
    for _, m in ipairs(redis.call('ZRANGE', index, 0, 2999)) do
      local other = string.sub(m, 18)
      if string.sub(m, 17, 17) == 'r' then
        local r = redis.call('GET', index .. ':s:' .. other)
        if r and string.sub(r, 67, 82) == id then v = finish(index, other) end
      end
    end
  end
  if v then n = n + 1 end
end
if ARGV[2] ~= '0' then redis.pcall('SET', index .. ':mark', '1', 'PX', ARGV[2]) end
tell(index, ARGV[1])
return n
