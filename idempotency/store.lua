-- Stores the result of an execution.
--
-- KEYS[1]  hash: owner, fingerprint; after the execution also status, header, body
-- ARGV[1]  owner;  ARGV[2]  fingerprint;  ARGV[3]  retention in ms
-- ARGV[4]  status, 0: the result cannot be repeated;  ARGV[5]  header, in the form of HTTP/1.1;  ARGV[6]  body
-- Returns  1: stored; 0: another owner has begun
-- Invariant: the record of another owner is not changed.
--
-- If the record is gone, no other owner has begun, so the result is stored. A second call of the same owner, after a
-- lost reply, stores the same result.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[3]) -- needs no memory: after it, a full server accepts the script's further writes
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fingerprint', ARGV[2], 'status', ARGV[4], 'header', ARGV[5], 'body', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
