-- Ends all records of one user, or all but one session and its own remember-me token, up to a limit
-- per call.
--
-- KEYS  index
-- ARGV  publish command · TTL of the mark key for replicas, ms, 0 = none · id to keep or '' · limit
-- Returns D, then 1 if more records are left or 0, then the number of sessions that ended.
--
-- Invariant: after a reply with 0, of the records in the index only the kept session exists, and
-- the token whose current secret belongs to it.

local index, keep, limit = KEYS[1], ARGV[3], tonumber(ARGV[4])
local link, n, done, kept = '', 0, 0, 0
local session = keep ~= '' and read(redis.call('GET', key(index, keep)))
if session and session.state == 'L' then
  -- A token that another browser has used since belongs to that browser.
  local token = read(redis.call('GET', key(index, session.link)))
  if token and token.link == keep then
    link = session.link
    if token.state == 'R' then -- its previous secret may be elsewhere
      token.state = 'L'
      local wrote = redis.pcall('SET', key(index, link), write(token), 'KEEPTTL')
      if wrote.err then link = '' end
    end
  end
end
local all = redis.call('ZRANGE', index, 0, limit + 2)
for _, m in ipairs(all) do
  local id = string.sub(m, 18)
  if id == keep or id == link then
    kept = kept + 1
  elseif done < limit then
    if finish(index, id) and string.sub(m, 17, 17) == 'u' then n = n + 1 end
    redis.call('ZREM', index, m) -- also when the record had expired, or is of another format
    done = done + 1
  end
end
if ARGV[2] ~= '0' then redis.pcall('SET', index .. ':mark', '1', 'PX', ARGV[2]) end
publish(index, ARGV[1])
local more = 0
if #all > done + kept then more = 1 end
return 'D' .. more .. n
