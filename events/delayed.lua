-- Shared by the scripts that move delayed events into the stream; this text precedes them.
--
-- A delayed event is a member "<number> <id>" of a sorted set by due time, ms, and a field <id> of a hash
-- with "<number> <envelope>". <id> is the event's id within its channel: the channel's length, ":", the
-- channel, the event's id. The number has a fixed width. It keeps the order of events that are due at the
-- same millisecond.

-- channel_of returns the channel of an id.
local function channel_of(id)
  local size, rest = string.match(id, '^(%d+):(.*)$')
  return string.sub(rest, 1, tonumber(size))
end

-- appear moves up to 64 due events into the stream, in order, until they have budget bytes. It returns
-- their number.
local function appear(stream, delayed, bodies, now, budget)
  local moved, n = 0, 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 64)) do
    if moved > 0 and moved >= budget then break end
    local id = string.match(member, '^%d+ (.*)$')
    local packed = id and redis.call('HGET', bodies, id)
    if packed then
      local envelope = string.sub(packed, string.find(packed, ' ', 1, true) + 1)
      redis.call('XADD', stream, '*', 'c', channel_of(id), 'e1', envelope)
      redis.call('HDEL', bodies, id)
      moved = moved + #envelope
      n = n + 1
    end
    redis.call('ZREM', delayed, member)
  end
  return n
end
