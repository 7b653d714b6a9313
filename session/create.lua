-- Creates sessions of one user, in place of an old one of the same slot if there is one.
--
-- KEYS  index · old record's key, or the first new one's
-- ARGV  publish command · most sessions of the user, 0 = any · old id or '' · old version · then per new record:
--       id, kind, version, idle ms, lifetime ms (0 = none), linked id or dots, hash of the secret, body
-- Returns created µs (16 digits) and how many sessions gave way to the new one; 0 if the old one
-- is gone; the old record if its version is another.
--
-- Invariant: with an old id, either the old session ends and the new one begins, or nothing happens.

local index, old = KEYS[1], ARGV[3]
if old ~= '' then
  local v = redis.call('GET', index .. ':s:' .. old)
  if not alive(v) then return 0 end
  if string.sub(v, 4, 11) ~= ARGV[4] then return v end
end
local records = {}
for i = 5, #ARGV, 8 do
  local idle, life = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local deadline = 0
  if life > 0 then deadline = now + life end
  records[#records + 1] = {ARGV[i], '1L' .. ARGV[i + 1] .. ARGV[i + 2] .. string.format('%016.0f', micros) .. ms(now) .. ms(deadline) ..
    ms(idle) .. ARGV[i + 5] .. ARGV[i + 6] .. ARGV[i + 7]}
end
-- First what can be refused (out of memory), then what can't.
for _, r in ipairs(records) do store(index, r[1], r[2], expiry(r[2])) end
if old ~= '' then both(index, old) end

local max, given = tonumber(ARGV[2]), 0
if max > 0 then
  -- The oldest give way, by creation; ids of the new ones are spared.
  local all, sessions = redis.call('ZRANGE', index, 0, 2999), {}
  for _, m in ipairs(all) do
    if string.sub(m, 17, 17) == 'u' and string.sub(m, 18) ~= ARGV[5] then sessions[#sessions + 1] = m end
  end
  table.sort(sessions)
  for i = 1, #sessions - (max - 1) do
    both(index, string.sub(sessions[i], 18))
    redis.call('ZREM', index, sessions[i])
    given = given + 1
  end
end
tell(index, ARGV[1])
return string.format('%016.0f', micros) .. given
