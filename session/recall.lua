-- Starts a session with a remember-me token, in place of the token's previous session, and replaces
-- the secret of the token.
--
-- KEYS  index · the remember-me record
-- ARGV  publish command · maximum number of sessions of the user, 0 = no limit · 1 to refuse more,
--       0 to end the oldest · id of the record · expected version · 1 if its previous secret was
--       presented, 0 if the current one · grace period ms · use ms · new version · new hash · new
--       body · of the session: id, version, idle ms, lifetime ms (0 = none), latest deadline ms,
--       hash, body
-- Returns D, the creation time in µs and the ids of the displaced sessions (16 bytes each); G; C
-- and the record; F; K and the time of the server in ms; S, id and record of the session that the
-- current secret has started, in the grace period; R if that session was used. R means that one
-- browser has the current secret, and another browser has presented the previous one. Then the
-- token and its session have ended.
--
-- Invariant: a remember-me token has at most one session. No session starts with a token that has
-- no record.

local index, id, max = KEYS[1], ARGV[4], tonumber(ARGV[2])
local v = redis.call('GET', KEYS[2])
local r = read(v)
if not live(r) or r.kind ~= 'r' then return 'G' end
local at = expiry(r)
if at <= now then return 'G' end
if r.version ~= ARGV[5] then return 'C' .. v end

local before = redis.call('GET', key(index, r.link))
local linked = read(before)
if ARGV[6] == '1' and linked and linked.state == 'L' and linked.kind == 'u' then
  if now - tonumber(r.touched) < tonumber(ARGV[7]) then return 'S' .. r.link .. before end
  if tonumber(linked.touched) - math.floor(tonumber(linked.created) / 1000) > tonumber(ARGV[8]) then
    both(index, id)
    publish(index, ARGV[1])
    return 'R'
  end
end

local deadline, life, latest = 0, tonumber(ARGV[15]), tonumber(ARGV[16])
if life > 0 then
  deadline = now + life
  if deadline > latest or latest - deadline > 120000 then return 'K' .. ms(now) end
end
if max > 0 and ARGV[3] == '1' and #sessions(index, r.link, '') >= max then return 'F' end

local session = {state = 'L', kind = 'u', version = ARGV[13], created = us(micros), touched = ms(now), deadline = ms(deadline),
  idle = ms(tonumber(ARGV[14])), link = id, hash = ARGV[17], body = ARGV[18]}
store(index, ARGV[12], session, expiry(session))
local last = r.link
r.state, r.version, r.touched, r.link, r.hash, r.body = 'R', ARGV[9], ms(now), ARGV[12], ARGV[10], ARGV[11]
store(index, id, r, at)
if linked then finish(index, last) end
local displaced = displace(index, max, ARGV[12])
publish(index, ARGV[1])
return 'D' .. us(micros) .. displaced
