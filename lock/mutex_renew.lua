-- Extends the leases of mutexes.
--
-- KEYS     states
-- ARGV     1 retention ms  then for each state: id, TTL µs
-- returns  a digit for each state: 1; or 0 if the lock has another owner, is gone, or its lease has ended
--
-- Invariant: a lease that has ended is never extended. GETEX counts as a write that needs no memory, so renewals work
-- on a full server.

local t = redis.call('TIME')
local now, retention, results = t[1] * 1000000 + t[2], tonumber(ARGV[1]), {}
for i = 1, #KEYS do
  results[i] = '0'
  local state = redis.pcall('GETEX', KEYS[i])
  if type(state) == 'string' then
    local token, leaseEnd, expired, queued, owner = parse(state)
    if owner == ARGV[2 * i] and tonumber(leaseEnd) > now then
      local ttl = tonumber(ARGV[2 * i + 1])
      redis.call('SET', KEYS[i], string.format('1 %s %.0f %s %s %s', token, now + ttl, expired, queued, owner),
        'PX', string.format('%.0f', retention + ttl / 1000))
      results[i] = '1'
    end
  end
end
return table.concat(results)
