-- The format of a stored session, and the functions that all scripts share. This text precedes each
-- script.
--
-- A record is a header of fixed width, then the body. The body is opaque here, encrypted or not:
--
--   1 format '2' · 2 state · 3 kind: u user's, a anonymous, r remember-me
--   4-11 version · 12-27 created µs · 28-40 touched ms · 41-53 deadline ms · 54-66 idle ms (13 zeros: none)
--   67-82 id of the record that ends with this record, or dots · 83-114 SHA-256 of the secret · 115- body
--
-- States: L live · R live, a remember-me token whose previous secret is still valid · M moving to
-- another slot by a login · T replaced by a login or destroyed: its token creates no session.
--
-- Keys, all in one slot: <index> is a sorted set of created..kind..id by expiry in ms;
-- <index>:s:<id> is a record; <index>:g:<id>:<hash> exists while a replaced token is in its grace
-- period; <index>:gone is the channel for the ids of ended sessions.
--
-- A reply is one string: D done, then the result; G the record is gone or ended; C the record has
-- changed, then the record; F the user has too many sessions; S shared, then a record; R a token
-- was used again.

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

local function ms(n) return string.format('%013.0f', n) end -- as a field of a record
local function us(n) return string.format('%016.0f', n) end
local function int(n) return string.format('%.0f', n) end -- as an argument of a command

-- read parses a record of this format. It returns false for anything else.
local function read(v)
  if not v or #v < 114 or string.sub(v, 1, 1) ~= '2' then return false end
  return {state = string.sub(v, 2, 2), kind = string.sub(v, 3, 3), version = string.sub(v, 4, 11), created = string.sub(v, 12, 27),
    touched = string.sub(v, 28, 40), deadline = string.sub(v, 41, 53), idle = string.sub(v, 54, 66), link = string.sub(v, 67, 82),
    hash = string.sub(v, 83, 114), body = string.sub(v, 115)}
end

local function write(r)
  return '2' .. r.state .. r.kind .. r.version .. r.created .. r.touched .. r.deadline .. r.idle .. r.link .. r.hash .. r.body
end

local function key(index, id) return index .. ':s:' .. id end
local function live(r) return r and (r.state == 'L' or r.state == 'R') end

-- expiry returns the time at which a record that is touched now ends: idle time plus touch
-- throttle, or the deadline. It returns 0 for a malformed record.
local function expiry(r)
  local idle, deadline = tonumber(r.idle) or 0, tonumber(r.deadline) or 0
  local at = deadline
  if idle > 0 then
    at = now + idle + math.min(math.floor(idle / 10), 60000)
    if deadline > 0 and deadline < at then at = deadline end
  end
  return at
end

local function member(r, id) return r.created .. r.kind .. id end

-- store writes a record with its expiry and adds it to the index of its user with the same expiry.
-- It uses PXAT, because PX counts from the time at which the SET runs. A record that outlives its
-- index entry is missed by RevokeUser.
local function store(index, id, r, at)
  redis.call('SET', key(index, id), write(r), 'PXAT', int(at))
  if r.kind == 'a' then return end
  redis.call('ZADD', index, int(at), member(r, id))
  redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. int(now))
  redis.call('PEXPIREAT', index, int(tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2])))
end

-- finish ends one record in any state and format. It returns the record, or false if there was
-- none. It collects the ids.
local ended = {}
local function finish(index, id)
  local v = redis.call('GET', key(index, id))
  if not v or string.sub(v, 1, 2) == '2T' then return false end
  redis.call('DEL', key(index, id))
  redis.call('ZREM', index, string.sub(v, 12, 27) .. string.sub(v, 3, 3) .. id)
  ended[#ended + 1] = id
  return v
end

-- both ends a record and its linked record.
local function both(index, id)
  local v = finish(index, id)
  local r = read(v)
  if r then finish(index, r.link) end
  return v
end

-- replaced is both, and leaves a mark with the TTL keep, by which late requests with the old token
-- are recognized.
local function replaced(index, id, keep)
  local r = read(both(index, id))
  if r then
    r.state, r.body = 'T', ''
    redis.pcall('SET', key(index, id), write(r), 'PX', keep)
  end
end

-- sessions returns the index entries of a user's sessions, oldest first, without two ids.
local function sessions(index, except1, except2)
  local found = {}
  for _, m in ipairs(redis.call('ZRANGEBYSCORE', index, int(now), '+inf', 'LIMIT', 0, 3000)) do
    local id = string.sub(m, 18)
    if string.sub(m, 17, 17) == 'u' and id ~= except1 and id ~= except2 then found[#found + 1] = m end
  end
  table.sort(found)
  return found
end

-- displace ends the oldest sessions of a user until max sessions are left, with the new one. It
-- returns their ids.
local function displace(index, max, new)
  local ids = {}
  if max > 0 then
    local old = sessions(index, new, '')
    for i = 1, #old - (max - 1) do
      local id = string.sub(old[i], 18)
      if both(index, id) then ids[#ids + 1] = id end
      redis.call('ZREM', index, old[i])
    end
  end
  return table.concat(ids)
end

-- publish sends the ended ids, 16 bytes each. Watchers also poll, so a refused PUBLISH must not
-- undo the end.
local function publish(index, command)
  if #ended > 0 and command ~= '' then redis.pcall(command, index .. ':gone', table.concat(ended)) end
end
