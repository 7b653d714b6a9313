-- Creates sessions of one user. Replaces an old session of the same slot, if an old id is given.
--
-- KEYS  index · the key of the old record, or of the first new record
-- ARGV  publish command · maximum number of sessions of the user, 0 = no limit · 1 to refuse more,
--       0 to end the oldest · old id or '' · old version · TTL of the replaced mark of the old
--       record, ms · then per new record: id, kind, version, idle ms, lifetime ms (0 = none),
--       latest deadline ms (0 = none), linked id or dots, hash of the secret, body
-- Returns D, the creation time in µs (16 digits) and the ids of the displaced sessions (16 bytes
-- each); G; C and the old record; F; K and the time of the server in ms, if a latest deadline does
-- not fit that time.
--
-- Invariant: with an old id, either the old session ends and the new one starts, or nothing
-- happens.

local index, old, max = KEYS[1], ARGV[4], tonumber(ARGV[2])
if old ~= '' then
  local v = redis.call('GET', key(index, old))
  local r = read(v)
  if not live(r) then return 'G' end
  if r.version ~= ARGV[5] then return 'C' .. v end
end
local records = {}
for i = 7, #ARGV, 9 do
  local life, latest, deadline = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), 0
  if life > 0 then
    deadline = now + life
    if deadline > latest or latest - deadline > 120000 then return 'K' .. ms(now) end
  end
  records[#records + 1] = {ARGV[i], {state = 'L', kind = ARGV[i + 1], version = ARGV[i + 2], created = us(micros), touched = ms(now),
    deadline = ms(deadline), idle = ms(tonumber(ARGV[i + 3])), link = ARGV[i + 6], hash = ARGV[i + 7], body = ARGV[i + 8]}}
end
if max > 0 and ARGV[3] == '1' and #sessions(index, old, '') >= max then return 'F' end

-- Writes that the server can refuse (out of memory) come first, then writes that it can't refuse.
for _, r in ipairs(records) do store(index, r[1], r[2], expiry(r[2])) end
if old ~= '' then replaced(index, old, ARGV[6]) end
local displaced = displace(index, max, ARGV[7])
publish(index, ARGV[1])
return 'D' .. us(micros) .. displaced
