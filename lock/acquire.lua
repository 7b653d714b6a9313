-- Takes a mutex, or takes a place in its queue and says again that the waiter lives.
--
-- KEYS     1 state  2 queue  3 waiters
-- ARGV     1 id  2 ttl µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH
-- returns  the token, > 0; or {token, µs since it was passed to id}; or {−ms until the present lease ends, now}
--
-- Invariant: the owner changes only when the lock is free or its lease has ended, and every change of owner makes a
-- token that is greater than all before. The first live waiter goes before everybody who asks.

local id, retention, waited = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[6])
local known, readable = load()
if not readable then
  return redis.error_reply(FORMAT)
end
local now = clock()

if owner == id then
  local age = now - (till - tonumber(ARGV[7]))
  till = now + tonumber(ARGV[2])
  save(now, retention)
  return {token, age}
end

local changed = false
if owner == '-' or till <= now then
  local head, channel, grant, empty = nil, nil, nil, true
  if queued or waited > 0 then
    head, channel, grant, empty = first(now)
  end
  if owner ~= '-' then
    lapsed, owner, changed = token, '-', true
  end
  if empty or head == id then
    token = math.max(token + 1, now)
    if not known then
      lapsed = token - 1
    end
    owner, till = id, now + tonumber(ARGV[2])
    if head then
      leave(id)
      queued = redis.call('ZCARD', KEYS[2]) > 0
    else
      queued = false
    end
    save(now, retention)
    return token
  end
  if head then
    if not known then
      lapsed = math.max(token, now - 1)
    end
    pass(now, head, channel, grant, ARGV[8])
    changed = true
  end
end

local alive = tonumber(ARGV[4])
if alive > 0 then
  queue(id, now - waited, now + alive, ARGV[7], ARGV[5])
  outlive(KEYS[2], retention)
  outlive(KEYS[3], retention)
  changed = changed or not queued
  queued = true
end
if changed then
  save(now, retention)
end
return {-math.max(1, math.ceil((till - now) / 1000)), now}
