-- Ends records of one user by id, each with the one linked to it.
--
-- KEYS  index
-- ARGV  publish command · ms for which to keep a mark for the replicas, 0 = none · ms for which to mark a live session as replaced, 0 = not · ids …
-- Returns D and how many of the ids named something that lived.
--
-- Invariant: afterwards neither the session nor its remember-me token exists, in whatever state it was.

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
    -- The session has expired, but its remember-me token would bring it back.
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
