-- What a partition's owner must hold: entries that were read but not finished, and channels whose parked events were handed out.
--
-- KEYS  1 stream  2 lease  3 retry  4 tries  5 prefix of the parked lists
-- ARGV  1 token  2 lease ms  3 group  4 first id  5 how many entries  6 parked events per channel to hand out (0 = no channels)
-- Returns nil if the token does not hold the lease, else { {{entry, attempts}…}, last id looked at or "", {channel…}, ids that are gone, error or "" }
-- with channels as in step.lua. Entries that were cut from the stream are acknowledged and counted as gone.
-- Invariant: attempts are reported as they are; nothing is handed out twice to two owners.
local stream, group = KEYS[1], ARGV[3]
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local out, last, channels, gone, fault = {}, '', {}, {}, ''
local pending = redis.pcall('XPENDING', stream, group, ARGV[4], '+', ARGV[5])
if pending.err then
  fault = pending.err
else
  for _, p in ipairs(pending) do
    last = p[1]
    local entry = redis.call('XRANGE', stream, p[1], p[1])[1]
    if entry then
      out[#out + 1] = { entry, p[4] - 1 }
    else
      redis.call('XACK', stream, group, p[1])
      gone[#gone + 1] = p[1]
    end
  end
end
local window = tonumber(ARGV[6])
if window > 0 then
  for _, channel in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '1000000000000000', '+inf')) do
    local items = redis.call('LRANGE', KEYS[5] .. channel, 0, window - 1)
    if #items == 0 then
      redis.call('ZREM', KEYS[3], channel)
    else
      local attempts = {}
      for i, it in ipairs(items) do attempts[i] = redis.call('HGET', KEYS[4], string.match(it, '^(%S+)')) or '0' end
      channels[#channels + 1] = { channel, items, attempts }
    end
  end
end
return { out, last, channels, gone, fault }
