-- Reads the state that an owner must take over: entries that were read and not finished, and parked lists
-- that were handed out.
--
-- KEYS  1 stream  2 lease  3 retry  4 tries  5 prefix of the parked lists
-- ARGV  1 token  2 lease, ms  3 group  4 first id  5 number of entries
--       6 parked events per channel to hand out (0 = no channels)
--       7 bytes of bodies in the reply, at most  8 parked events to fetch at once
-- Returns nil if the token does not hold the lease. Else
--       { {id, channel, field, body, attempts of each entry}, last id that was looked at, or "" after the
--         last page, {channel…}, ids of entries that were cut, error or "",
--         {id, size of each event whose body did not fit…} }
--       with channels as in bodies.lua. Entries that were cut from the stream are acknowledged.
-- Invariant: attempts are reported unchanged. Parked events come after the last entries, because a
-- channel's pending entries are older than its parked events. Bodies in the reply have at most ARGV 7
-- bytes; the script reads at most that and one fetch more.
local stream, group = KEYS[1], ARGV[3]
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local out, last, channels, gone, fault = {}, '', {}, {}, ''
budget, chunk = tonumber(ARGV[7]), tonumber(ARGV[8])
left, most = budget, math.max(budget, 1048576)

local pending = redis.pcall('XPENDING', stream, group, ARGV[4], '+', ARGV[5])
if pending.err then
  fault = pending.err
else
  local looked = 0
  for _, p in ipairs(pending) do
    last, looked = p[1], looked + 1
    local entry = redis.call('XRANGE', stream, p[1], p[1])[1]
    if entry then
      local channel, field, body = content(entry)
      fetched = fetched + #body
      local n = #out
      out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = p[1], channel, field, fits(p[1], #body) and body or '', p[4] - 1
    else
      redis.call('XACK', stream, group, p[1])
      gone[#gone + 1] = p[1]
    end
    if fetched > most then break end
  end
  if looked < tonumber(ARGV[5]) and looked == #pending then last = '' end
end
local window = tonumber(ARGV[6])
if window > 0 and last == '' then
  for _, channel in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '1000000000000000', '+inf')) do
    local found = handed(KEYS[4], KEYS[5] .. channel, channel, 0, window)
    if found[4] == 0 then
      redis.call('ZREM', KEYS[3], channel)
    else
      channels[#channels + 1] = found
    end
  end
end
return { out, last, channels, gone, fault, stubs }
