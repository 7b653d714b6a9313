-- Reads the record of a key, for tools.
--
-- KEYS[1]  hash: owner, fingerprint; after the execution also status, header, body
-- ARGV[1]  most bytes of header and body in the reply
-- Returns  {}: there is no record; else {rest of the TTL in ms, 1 if there is an owner and a fingerprint, status or "",
--          bytes of the header, bytes of the body, header, body}. A longer response is not in the reply: both are "".
-- Invariant: the script writes nothing.
local record = redis.call('HMGET', KEYS[1], 'owner', 'fingerprint', 'status', 'header', 'body')
local ttl = redis.call('PTTL', KEYS[1])
if ttl == -2 then
  return {}
end

local header, body = record[4] or '', record[5] or ''
local fits = #header + #body <= tonumber(ARGV[1])
return {ttl, record[1] and record[2] and 1 or 0, string.sub(record[3] or '', 1, 20), #header, #body,
  fits and header or '', fits and body or ''}
