-- The layout of a stored session, and what every script does with it. This text stands before each script's own.
--
-- A record is a header of fixed width, then the body (opaque here, encrypted or not):
--
--   1 format '1' · 2 state: L live, B buried by a login to another slot · 3 kind: u user's, a anonymous, r remember-me
--   4-11 version · 12-27 created µs · 28-40 touched ms · 41-53 deadline ms · 54-66 idle ms (13 zeros: none)
--   67-82 id of the record that ends with this one, or dots · 83-114 SHA-256 of the secret · 115- body
--
-- Keys, all in one slot: <index> is a sorted set of created..kind..id by expiry in ms;
-- <index>:s:<id> is a record; <index>:g:<id>:<hash> exists while a replaced token is in grace;
-- <index>:gone is the channel on which the ids of ended sessions are told.

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

local function ms(n) return string.format('%013.0f', n) end -- in a record
local function int(n) return string.format('%.0f', n) end -- as an argument

-- alive says whether a value is a live record of a format that this release knows.
local function alive(v) return v and #v >= 114 and string.sub(v, 1, 2) == '1L' end

-- expiry is when a record touched now ends: the idle time plus the touch throttle, or the deadline. 0 for nonsense.
local function expiry(v)
  local idle, deadline = tonumber(string.sub(v, 54, 66)) or 0, tonumber(string.sub(v, 41, 53)) or 0
  local at = deadline
  if idle > 0 then
    at = now + idle + math.min(math.floor(idle / 10), 60000)
    if deadline > 0 and deadline < at then at = deadline end
  end
  return at
end

local function member(v, id) return string.sub(v, 12, 27) .. string.sub(v, 3, 3) .. id end

-- store writes a record with its expiry and enters it in its user's index, both until the same moment: with PX the server would
-- count from when the SET runs, and a record that outlives its entry is one that the end of its user's sessions misses.
local function store(index, id, v, at)
  redis.call('SET', index .. ':s:' .. id, v, 'PXAT', int(at))
  if string.sub(v, 3, 3) == 'a' then return end
  redis.call('ZADD', index, int(at), member(v, id))
  redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. int(now))
  redis.call('PEXPIREAT', index, int(tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2])))
end

-- finish ends one record, whatever its state and format, and returns what it was. Ended ids are gathered.
local ended = {}
local function finish(index, id)
  local v = redis.call('GET', index .. ':s:' .. id)
  if not v then return false end
  redis.call('DEL', index .. ':s:' .. id)
  redis.call('ZREM', index, member(v, id))
  ended[#ended + 1] = id
  return v
end

-- both is finish for a record and the one that ends with it.
local function both(index, id)
  local v = finish(index, id)
  if v and #v >= 114 and string.sub(v, 67, 82) ~= '................' then finish(index, string.sub(v, 67, 82)) end
  return v
end

-- tell publishes the ended ids, 16 bytes each. Listeners look for themselves too, so a refusal must not undo the end.
local function tell(index, publish)
  if #ended > 0 and publish ~= '' then redis.pcall(publish, index .. ':gone', table.concat(ended)) end
end
