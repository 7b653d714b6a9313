-- Extends leases in semaphores and read-write locks.
--
-- KEYS     of each: counter  queue  waiters and tokens  holders  heartbeats
-- ARGV     1 retention ms  then for each: id, TTL µs
-- returns  a digit for each: 1; or 0 if the lease is gone or has ended
--
-- Invariant: a lease that has ended is never extended. GETEX counts as a write that needs no memory, so renewals work
-- on a full server.

local now, results = clock(), {}
for i = 1, #KEYS / 5 do
  results[i] = '0'
  local id, ttl = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  local holders = KEYS[5 * i - 1]
  local leaseEnd = redis.pcall('ZSCORE', holders, id)
  if type(leaseEnd) == 'string' and tonumber(leaseEnd) > now then
    local lock = load(i, 'GETEX')
    if lock then
      redis.call('ZADD', holders, integer(now + ttl), id)
      save(lock, tonumber(ARGV[1]) + ttl / 1000)
      results[i] = '1'
    end
  end
end
return table.concat(results)
