-- Releases the lease of an execution without a result, so that the key can be used again.
--
-- KEYS[1]  hash: owner, fingerprint; after the execution also status, header, body
-- ARGV[1]  owner
-- Returns  1: released; 0: another owner has begun, or the record is gone or has a result
-- Invariant: the record of another owner and a stored result are not changed.
local record = redis.call('HMGET', KEYS[1], 'owner', 'status')
if record[1] ~= ARGV[1] or record[2] then
  return 0
end
return redis.call('DEL', KEYS[1])
