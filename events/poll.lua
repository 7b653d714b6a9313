-- One poll of a partition's owner: write the outcomes since the last poll, then read more events.
--
-- KEYS  1 stream  2 lease  3 retry (sorted set: channel by due time, ms)  4 tries (hash: id to attempts)
--       5 delayed, 12 later (see delayed.lua, which precedes this text)  6 dead letters (stream)
--       7 prefix of the parked lists, one list per channel  8 prefix of the inbox marks
--       9 cut (hash: group to number of missed events)  10 group (hash, see below)
--       11 heads (sorted set: channel by the least time, ms, that the head of its parked list can have)
-- ARGV  1 token  2 lease, ms  3 group  4 entries to read  5 parked events per channel to hand out
--       6 cap of dead letters  7 lifetime of an inbox mark, ms (0 = none)
--       8 "keep", or "release" to give the partition back
--       9 number of channels whose first event may start at once; this script counts its attempt
--       10 number of the poll, higher each time that the poll is sent
--       11 bytes of bodies in the reply, at most  12 entries or parked events to fetch at once
--       13 number of the last poll that was answered, or 0
--       then operations, each a letter and its arguments:
--       A n id…                        acknowledge stream entries
--       I n event-id…                  mark events in the inbox
--       P channel n id…                n heads of a parked list are done
--       M channel skip want            hand out want events of a parked list behind the first skip;
--                                      an empty list takes the channel out of retry
--       K channel delay-ms n (id attempts)…  park stream entries, in order, at the front of the
--                                      channel's list; delay -1: the list is handed out to this owner,
--                                      and later entries of the channel are parked behind it
--       T id attempts                  set the attempts of a parked event
--       D id cause attempts at channel pop   make a dead letter of a stream entry, or (pop 1) of the
--                                      head of a parked list
--       B attempts n id…               count attempts of stream entries, before their handlers start
--       F id                           fetch the body of a stream entry
--       H channel id                   fetch the body of the head of a parked list
--       C n event-id…                  ask which events are in the inbox
-- Fields of the group's hash: fence, turn (number of the last poll), topics (stamp of the last version of
--       the group that registered), last (last id read), read (entries of the stream's whole life that are
--       behind the group), parked (events in all parked lists), cut (parked events that were cut).
-- Returns nil if the token does not hold the lease, and 'BEHIND' if the server has lost an answered poll, as
--       in a failover; nothing was changed then. Else
--       { now ms, next due ms or "", entries read, {id, channel, field, body of each entry to handle},
--         {due channels}, {more of channels}, {event ids found in the inbox}, error or "", parked now,
--         dead now, {ids that were started},
--         the stream's last id if everything has been read, else "",
--         number of events that were cut before they were handled,
--         {id, size of each event whose body did not fit}, {id, body of each event that was fetched},
--         {ids that were to start and were cut}, events in all parked lists,
--         stamp of the group's last new version, or "" }
--       with channels as in bodies.lua.
-- Invariant: an event is in exactly one of the stream's pending list, a parked list and the dead letters.
-- A poll may be repeated whole; an older poll is refused. The script renews the lease first: a script
-- that has written may go on writing when memory is full. Bodies in the reply have at most ARGV 11 bytes;
-- the script reads at most that and one fetch more.
local stream, lease, retry, tries = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local delayed, dead, parked, inbox = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local group, window = ARGV[3], tonumber(ARGV[5])
local TAKEN = '1000000000000000'

if redis.call('GET', lease) ~= ARGV[1] then return false end
-- A poll whose connection was lost may arrive after its repetition. It must not read entries that no consumer expects.
local known = redis.call('HMGET', KEYS[10], 'turn', 'read', 'topics', 'cut', 'parked')
local turn = tonumber(known[1] or '0')
if tonumber(ARGV[10]) <= turn then return redis.error_reply('STALE an older poll') end
-- The owner no longer holds events that a lost poll has parked. It must not read past them.
if turn < tonumber(ARGV[13]) then return 'BEHIND' end
redis.call('PEXPIRE', lease, ARGV[2])
redis.call('HSET', KEYS[10], 'turn', ARGV[10])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due, more, seen, fault = {}, {}, {}, ''
local nparked, npopped, ndead, ngone = 0, 0, 0, 0
local bodies, gone = {}, {}
budget, chunk = tonumber(ARGV[11]), tonumber(ARGV[12])
left, most = budget, budget

local function some(from, n)
  local out = {}
  for i = from, from + n - 1 do out[#out + 1] = ARGV[i] end
  return out
end

local function item(entry)
  local _, field, body = content(entry)
  return entry[1] .. ' ' .. field .. ' ' .. body
end

-- heads keeps for each channel the least time, ms, that the head of its parked list can have.
local function heads(channel, id) redis.call('ZADD', KEYS[11], 'LT', string.match(id, '^%d+'), channel) end

-- others returns the operations that most polls do not have. A function costs time even if it is not called.
local function others()
  local op = {}
  -- pop removes the head of a parked list if its id is the expected one.
  local function pop(channel, id)
    local list = parked .. channel
    local head = redis.call('LRANGE', list, 0, 0)[1]
    if not head or string.sub(head, 1, #id + 1) ~= id .. ' ' then return false end
    redis.call('LPOP', list)
    npopped = npopped + 1
    redis.call('HDEL', tries, id)
    if redis.call('LLEN', list) == 0 then
      redis.call('ZREM', retry, channel)
      redis.call('ZREM', KEYS[11], channel)
    end
    return head
  end

  local function acked(id)
    local ok = redis.pcall('XACK', stream, group, id)
    return type(ok) == 'number' and ok == 1
  end

  function op.I(i)
    local n = tonumber(ARGV[i])
    for _, id in ipairs(some(i + 1, n)) do redis.call('SET', inbox .. id, '1', 'PX', ARGV[7]) end
    return i + n + 1
  end
  function op.P(i)
    local channel, n = ARGV[i], tonumber(ARGV[i + 1])
    for _, id in ipairs(some(i + 2, n)) do pop(channel, id) end
    return i + 2 + n
  end
  function op.M(i)
    local found = handed(tries, parked .. ARGV[i], ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
    if found[4] == 0 then redis.call('ZREM', retry, ARGV[i]) end
    more[#more + 1] = found
    return i + 3
  end
  function op.F(i)
    local entry = redis.call('XRANGE', stream, ARGV[i], ARGV[i])[1]
    if entry then
      local _, _, body = content(entry)
      bodies[#bodies + 1] = ARGV[i]
      bodies[#bodies + 1] = body
    end
    return i + 1
  end
  function op.H(i)
    local head = redis.call('LRANGE', parked .. ARGV[i], 0, 0)[1]
    if head and string.sub(head, 1, #ARGV[i + 1] + 1) == ARGV[i + 1] .. ' ' then
      bodies[#bodies + 1] = ARGV[i + 1]
      local _, body = parts(head)
      bodies[#bodies + 1] = body
    end
    return i + 2
  end
  function op.K(i)
    local channel, n = ARGV[i], tonumber(ARGV[i + 2])
    for j = i + 3 + 2 * (n - 1), i + 3, -2 do
      local entry, ours = redis.call('XRANGE', stream, ARGV[j], ARGV[j])[1], acked(ARGV[j])
      if ours and entry then
        redis.call('LPUSH', parked .. channel, item(entry))
        heads(channel, ARGV[j])
        if ARGV[j + 1] ~= '0' then redis.call('HSET', tries, ARGV[j], ARGV[j + 1]) end
        nparked = nparked + 1
      elseif ours then
        ngone = ngone + 1
      end
    end
    if ARGV[i + 1] == '-1' then
      redis.call('ZADD', retry, TAKEN, channel)
    elseif redis.call('LLEN', parked .. channel) > 0 then
      redis.call('ZADD', retry, now + ARGV[i + 1], channel)
    end
    return i + 3 + 2 * n
  end
  function op.T(i)
    if ARGV[i + 1] == '0' then redis.call('HDEL', tries, ARGV[i]) else redis.call('HSET', tries, ARGV[i], ARGV[i + 1]) end
    return i + 2
  end
  function op.D(i)
    local id, channel = ARGV[i], ARGV[i + 4]
    local field, body
    if ARGV[i + 5] == '1' then
      local head = pop(channel, id)
      if head then field, body = parts(head) end
    else
      local entry, ours = redis.call('XRANGE', stream, id, id)[1], acked(id)
      if ours and entry then
        local _
        _, field, body = content(entry)
      elseif ours then
        ngone = ngone + 1
      end
    end
    if body then
      redis.call('XADD', dead, 'MAXLEN', '~', ARGV[6], '*', 'id', id, 'c', channel, field, body,
        'cause', ARGV[i + 1], 'attempts', ARGV[i + 2], 'at', ARGV[i + 3])
      ndead = ndead + 1
    end
    return i + 6
  end
  function op.C(i)
    local n = tonumber(ARGV[i])
    for _, id in ipairs(some(i + 1, n)) do
      if redis.call('EXISTS', inbox .. id) == 1 then seen[#seen + 1] = id end
    end
    return i + 1 + n
  end
  return op
end
local function acknowledge(i)
  local n = tonumber(ARGV[i])
  local reply = redis.pcall('XACK', stream, group, unpack(ARGV, i + 1, i + n))
  if type(reply) == 'table' and reply.err then fault = reply.err end
  return i + n + 1
end
local function count_attempts(i)
  local n = tonumber(ARGV[i + 1])
  local args = some(i + 2, n)
  args[#args + 1] = 'RETRYCOUNT'
  args[#args + 1] = ARGV[i] + 1 -- reading an entry counts as one
  args[#args + 1] = 'JUSTID'
  local reply = redis.pcall('XCLAIM', stream, group, 'owner', 0, unpack(args))
  if type(reply) == 'table' and reply.err then
    fault = reply.err
  elseif #reply < n then
    local there = {}
    for _, id in ipairs(reply) do there[id] = true end
    for _, id in ipairs(some(i + 2, n)) do
      if not there[id] then gone[#gone + 1] = id end
    end
  end
  return i + 2 + n
end
-- waiting counts the events in the parked lists.
local function waiting()
  if nparked == npopped then return tonumber(known[5] or '0') end
  local n = redis.call('HINCRBY', KEYS[10], 'parked', nparked - npopped)
  if n == 0 then redis.call('HDEL', KEYS[10], 'parked') end
  return n
end

local at, op = 14, nil
while ARGV[at] do
  local letter = ARGV[at]
  if letter == 'A' then
    at = acknowledge(at + 1)
  elseif letter == 'B' then
    at = count_attempts(at + 1)
  else
    op = op or others()
    at = op[letter](at + 1)
  end
end

if ARGV[8] == 'release' then
  for _, channel in ipairs(redis.call('ZRANGEBYSCORE', retry, TAKEN, '+inf')) do redis.call('ZADD', retry, now, channel) end
  redis.call('DEL', lease)
  return { now, '', 0, {}, {}, more, seen, fault, nparked, ndead, {}, '', ngone, stubs, bodies, gone, waiting(), known[3] or '' }
end

-- head returns the least score of a sorted set as text, or nil.
local function head(key) return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] end

local later, nxt = head(delayed), head(retry)
if later and tonumber(later) <= now then
  appear(stream, delayed, KEYS[12], now, budget)
  later = head(delayed)
end

local count = tonumber(ARGV[4])
local fresh, read, begun, tip = {}, 0, {}, ''
if count > 0 then
  local missed = tonumber(redis.call('HGET', KEYS[9], group) or '0')
  if missed > 0 then
    redis.call('HDEL', KEYS[9], group)
    ngone = ngone + missed
  end
  if known[4] then -- parked events that were cut
    redis.call('HDEL', KEYS[10], 'cut')
    ngone = ngone + known[4]
  end
  if nxt and tonumber(nxt) <= now then
    for _, channel in ipairs(redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'LIMIT', 0, 32)) do
      if spent() then break end
      local found = handed(tries, parked .. channel, channel, 0, window)
      if found[4] == 0 then
        redis.call('ZREM', retry, channel)
      else
        redis.call('ZADD', retry, TAKEN, channel)
        due[#due + 1] = found
      end
    end
    nxt = head(retry)
  end
  local entries, ended = {}, false
  while read < count and not ended and fault == '' and not spent() do
    local want = math.min(chunk, count - read)
    local reply = redis.pcall('XREADGROUP', 'GROUP', group, 'owner', 'COUNT', want, 'STREAMS', stream, '>')
    local got = {}
    if reply and reply.err then
      fault = reply.err
    elseif reply and reply[1] then
      got = reply[1][2]
    end
    for _, entry in ipairs(got) do
      entries[#entries + 1] = entry
      for _, text in ipairs(entry[2]) do fetched = fetched + #text end
    end
    read, ended = #entries, #got < want
  end
  local passed, added = known[2] and known[2] + missed + read, nil
  if fault == '' and ended then
    if read > 0 then tip = entries[read][1] end
    if read == 0 or ARGV[10] % 64 == 0 then
      local info = redis.call('XINFO', 'STREAM', stream)
      for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then tip = info[i + 1] end
        if info[i] == 'entries-added' then added = info[i + 1] end
      end
    end
  end
  if added then -- everything is read: an entry that was added and not read was deleted by another program
    if passed and added > passed then ngone = ngone + added - passed end
    passed = added
  end
  if passed and passed ~= tonumber(known[2]) then
    local last = read > 0 and entries[read][1] or tip
    local args = { 'read', string.format('%.0f', passed) }
    if last ~= '' then args[3], args[4] = 'last', last end
    redis.call('HSET', KEYS[10], unpack(args))
  end
  local behind, done = nxt, {}
  local auto, first = tonumber(ARGV[9]), {}
  for _, entry in ipairs(entries) do
    local channel, field, body = content(entry)
    if behind and redis.call('ZSCORE', retry, channel) then
      redis.call('RPUSH', parked .. channel, item(entry))
      heads(channel, entry[1])
      done[#done + 1] = entry[1]
    else
      local whole, n = fits(entry[1], #body), #fresh
      fresh[n + 1], fresh[n + 2], fresh[n + 3], fresh[n + 4] = entry[1], channel, field, whole and body or ''
      if #begun < auto then
        if not first[channel] and field == 'e1' and whole then begun[#begun + 1] = entry[1] end
        first[channel] = true -- an event must not start before an earlier entry of another format
      end
    end
  end
  if #done > 0 then
    redis.call('XACK', stream, group, unpack(done))
    nparked = nparked + #done
  end
  if #begun > 0 then
    local args = { unpack(begun) }
    args[#args + 1] = 'RETRYCOUNT'
    args[#args + 1] = '2'
    args[#args + 1] = 'JUSTID'
    redis.call('XCLAIM', stream, group, 'owner', 0, unpack(args))
  end
end

if later and (not nxt or tonumber(later) < tonumber(nxt)) then nxt = later end
return { now, nxt or '', read, fresh, due, more, seen, fault, nparked, ndead, begun, tip, ngone, stubs, bodies, gone, waiting(), known[3] or '' }
