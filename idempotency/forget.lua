-- Deletes the result of an execution, for tools. A request with the key is then executed again.
--
-- KEYS[1]  hash: owner, fingerprint; after the execution also status, header, body
-- Returns  0: there is no record; 1: an execution holds the lease; 2: the result is deleted; 3: the mark of an
--          execution without a stored result is deleted; 4: another program wrote the key
-- Invariant: the record of an execution that holds its lease, and values of other programs, are not changed (I1).
local record = redis.call('HMGET', KEYS[1], 'owner', 'fingerprint', 'status')
local status = record[3]
if not record[1] and not record[2] and not status then
  return redis.call('EXISTS', KEYS[1]) == 1 and 4 or 0
end
if not record[1] or not record[2] or status and not string.find(status, '^%d%d?%d?$') then
  return 4
end
if not status then
  return 1
end
redis.call('DEL', KEYS[1])
return status == '0' and 3 or 2
