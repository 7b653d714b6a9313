-- Renews the lease of an execution.
--
-- KEYS[1]  hash: owner, fingerprint; after the execution also status, header, body
-- ARGV[1]  owner;  ARGV[2]  fingerprint;  ARGV[3]  lease in ms
-- Returns  1: renewed; 0: another owner has begun, or the execution has a result
-- Invariant: the record of another owner and a stored result are not changed.
--
-- If a failover or an eviction lost the record, it is written again, because its execution still runs.
local record = redis.call('HMGET', KEYS[1], 'owner', 'status')
if record[2] or record[1] and record[1] ~= ARGV[1] then
  return 0
end
if not record[1] then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fingerprint', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
