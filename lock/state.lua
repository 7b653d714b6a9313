-- What a mutex keeps under KEYS[1]: "1 <token> <until> <lapsed> <queued> <owner>". 1 is the format; until is
-- when the lease ends, µs; lapsed is the last token that ended without a release; queued is 1 if somebody may
-- wait; owner is - while the lock is free. The text outlives the lease: the token must not start again.

local token, till, lapsed, queued, owner = 0, 0, 0, false, '-'

local function load()
  local s = redis.call('GET', KEYS[1])
  if not s then
    return false, true
  end
  local a, b, c, d, e = string.match(s, '^1 (%d+) (%d+) (%d+) ([01]) (%S+)$')
  if not a then
    return true, false
  end
  token, till, lapsed, queued, owner = tonumber(a), tonumber(b), tonumber(c), d == '1', e
  return true, true
end

local function save(now, retention)
  local ms = retention
  if till > now then
    ms = ms + (till - now) / 1000
  end
  redis.call('SET', KEYS[1], string.format('1 %.0f %.0f %.0f %s %s', token, till, lapsed, queued and '1' or '0', owner),
    'PX', whole(ms))
end

-- Gives the free lock to a waiter for a moment: it must confirm.
local function pass(now, id, channel, grant, publish)
  leave(id)
  token = math.max(token + 1, now)
  owner, till = id, now + grant
  queued = redis.call('ZCARD', KEYS[2]) > 0
  tell(publish, channel, id, token, now)
end

