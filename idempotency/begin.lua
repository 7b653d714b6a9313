-- Begins the execution of a request, or returns what is known of an earlier request with the same key.
--
-- KEYS[1]  hash: owner, fingerprint; after the execution also status, header, body
-- ARGV[1]  owner;  ARGV[2]  fingerprint;  ARGV[3]  lease in ms
-- Returns  {0}: begun; {1}: another execution holds the lease; {2}: the key belongs to a request with another
--          fingerprint; {3, status, header, body}: the stored result; {4}: executed, without a stored result
-- Invariant: until the lease of an owner expires, and while a result is stored, no other owner begins.
--
-- The lease is the TTL of the key. If the owner crashes, the key is gone after the lease.
local key = KEYS[1]
local record = redis.call('HMGET', key, 'owner', 'fingerprint', 'status', 'header', 'body')
local owner, fingerprint, status = record[1], record[2], record[3]

if owner and fingerprint ~= ARGV[2] then
  return {2}
end
if status == '0' then
  return {4}
end
if status then
  return {3, status, record[4], record[5]}
end
if owner and owner ~= ARGV[1] then
  return {1}
end

redis.call('HSET', key, 'owner', ARGV[1], 'fingerprint', ARGV[2])
redis.call('PEXPIRE', key, ARGV[3])
return {0}
