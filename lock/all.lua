-- Takes several mutexes of one slot at once, or none.
--
-- KEYS     states
-- ARGV     1 id  2 ttl µs  3 retention ms
-- returns  the token, greater than every one before under any of the keys; or −index of the first that is taken
--
-- Invariant: all change or none. One that somebody waits for counts as taken, so that nobody overtakes its queue:
-- the caller then waits in that queue like everybody else.

local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local top, found = 0, {}
for i = 1, #KEYS do
  local s = redis.call('GET', KEYS[i])
  local token, till, lapsed, queued, owner = 0, 0, nil, '0', '-'
  if s then
    token, till, lapsed, queued, owner = string.match(s, '^1 (%d+) (%d+) (%d+) ([01]) (%S+)$')
    if not token then
      return redis.error_reply('WRONGTYPE what is stored here is not a lock of this release')
    end
    token, till, lapsed = tonumber(token), tonumber(till), tonumber(lapsed)
    if owner ~= ARGV[1] then
      if owner ~= '-' and till > now or queued == '1' then
        return -i
      end
      if owner ~= '-' then
        lapsed = token
      end
    end
  end
  top = math.max(top, token)
  found[i] = {lapsed, queued}
end
local token, till = math.max(top + 1, now), now + tonumber(ARGV[2])
local ms = string.format('%.0f', tonumber(ARGV[2]) / 1000 + tonumber(ARGV[3]))
for i = 1, #KEYS do
  local lapsed = found[i][1] or token - 1
  redis.call('SET', KEYS[i], string.format('1 %.0f %.0f %.0f %s %s', token, till, lapsed, found[i][2], ARGV[1]), 'PX', ms)
end
return token
