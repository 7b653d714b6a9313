-- What a partition's owner must hold: entries that were read but not finished, and channels whose parked events were handed out.
--
-- KEYS  1 stream  2 lease  3 retry  4 tries  5 prefix of the parked lists
-- ARGV  1 token  2 lease ms  3 group  4 first id  5 how many entries  6 parked events per channel to hand out (0 = no channels)
--       7 bytes of bodies to answer with at most  8 how many parked events to fetch at once
-- Returns nil if the token does not hold the lease, else { {{entry, attempts}…}, last id looked at, or "" if there are no more,
--       {channel…}, ids that are gone, error or "", {id, size of each event whose body did not fit…} } with channels as in step.lua.
--       Entries that were cut from the stream are acknowledged and counted as gone.
-- Invariant: attempts are reported as they are. Parked events come after the last entries, since a channel's entries were published
-- before what it has parked. Bodies in the reply have no more bytes than asked for; the script looks at one fetch more at most.
local stream, group = KEYS[1], ARGV[3]
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local out, last, channels, gone, fault = {}, '', {}, {}, ''
local budget, chunk, fetched, stubs = tonumber(ARGV[7]), tonumber(ARGV[8]), 0, {}
local left, most = budget, math.max(budget, 1048576)

local function fits(id, size)
  if size <= left then
    left = left - size
    return true
  end
  stubs[#stubs + 1] = id
  stubs[#stubs + 1] = size
  return false
end

local function content(entry)
  local f = entry[2]
  if f[1] == 'c' and f[4] then return f[2], f[3], f[4] end
  return '', '?', table.concat(f, ' ')
end

local pending = redis.pcall('XPENDING', stream, group, ARGV[4], '+', ARGV[5])
if pending.err then
  fault = pending.err
else
  for _, p in ipairs(pending) do
    last = p[1]
    local entry = redis.call('XRANGE', stream, p[1], p[1])[1]
    if entry then
      local channel, field, body = content(entry)
      fetched = fetched + #body
      if not fits(p[1], #body) then entry = { p[1], { 'c', channel, field, '' } } end
      out[#out + 1] = { entry, p[4] - 1 }
    else
      redis.call('XACK', stream, group, p[1])
      gone[#gone + 1] = p[1]
    end
    if fetched > most then break end
  end
  if #out + #gone < tonumber(ARGV[5]) and #out + #gone == #pending then last = '' end
end
local window = tonumber(ARGV[6])
if window > 0 and last == '' then
  for _, channel in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '1000000000000000', '+inf')) do
    local list = KEYS[5] .. channel
    local items, attempts, length = {}, {}, redis.call('LLEN', list)
    if length == 0 then
      redis.call('ZREM', KEYS[3], channel)
    else
      while #items < window and #items < length and (fetched == 0 or fetched < most) do
        for _, it in ipairs(redis.call('LRANGE', list, #items, #items + math.min(chunk, window - #items) - 1)) do
          local _, head = string.find(it, '^%S+ %S+ ')
          local id = string.match(it, '^%S+')
          fetched = fetched + #it
          items[#items + 1] = fits(id, #it - head) and it or string.sub(it, 1, head)
          attempts[#items] = redis.call('HGET', KEYS[4], id) or '0'
        end
      end
      channels[#channels + 1] = { channel, items, attempts, length }
    end
  end
end
return { out, last, channels, gone, fault, stubs }
