-- Extends the leases of mutexes.
--
-- KEYS     states
-- ARGV     1 retention ms  then for each state: id, ttl µs
-- returns  a digit for each state: 1, or 0 if the lock is another's, gone, or its lease has ended
--
-- Invariant: a lease that has ended is never extended. GETEX counts as a write that needs no memory, so a full
-- server renews.

local t = redis.call('TIME')
local now, retention, verdicts = t[1] * 1000000 + t[2], tonumber(ARGV[1]), {}
for i = 1, #KEYS do
  verdicts[i] = '0'
  local state = redis.pcall('GETEX', KEYS[i])
  if type(state) == 'string' then
    local token, till, lapsed, queued, owner = parse(state)
    if owner == ARGV[2 * i] and tonumber(till) > now then
      local ttl = tonumber(ARGV[2 * i + 1])
      redis.call('SET', KEYS[i], string.format('1 %s %.0f %s %s %s', token, now + ttl, lapsed, queued, owner),
        'PX', string.format('%.0f', retention + ttl / 1000))
      verdicts[i] = '1'
    end
  end
end
return table.concat(verdicts)
