-- Ends records of one user by id, each with its linked record.
--
-- KEYS  index
-- ARGV  publish command · TTL of the mark key for replicas, ms, 0 = none · TTL of the replaced mark
--       of a live session, ms, 0 = none · ids …
-- Returns D and the number of ids that had a record.
--
-- Invariant: afterwards neither the session nor its remember-me token exists, in any state.

local index, n = KEYS[1], 0
for i = 4, #ARGV do
  local id = ARGV[i]
  local r = read(redis.call('GET', key(index, id)))
  if live(r) and ARGV[3] ~= '0' then
    replaced(index, id, ARGV[3])
    n = n + 1
  elseif both(index, id) then
    n = n + 1
  else
    -- The session has expired, but its remember-me token would start a new one.
    local found = false
    for _, m in ipairs(redis.call('ZRANGE', index, 0, 2999)) do
      local other = string.sub(m, 18)
      if string.sub(m, 17, 17) == 'r' then
        local token = read(redis.call('GET', key(index, other)))
        if token and token.link == id and finish(index, other) then found = true end
      end
    end
    if found then n = n + 1 end
  end
end
if ARGV[2] ~= '0' then redis.pcall('SET', index .. ':mark', '1', 'PX', ARGV[2]) end
publish(index, ARGV[1])
return 'D' .. n
