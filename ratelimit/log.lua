-- Exact sliding log: every admitted call with its time, in a stream.
--
-- KEYS[1]  the log. The id of an entry is <µs>-<n>. Its first field is "1h<longest window in µs>", with the tokens admitted
--          before it. Its second field is "n", with its own tokens. So the sum over a window is one difference.
-- ARGV[1]  cost in tokens: > 0 charges, 0 only reads (and asks when 1 would fit), < 0 returns the newest tokens
-- ARGV[2…] two per rule: limit, window in µs
-- Returns  "+" or "-", then per rule: tokens in its window after the charge, µs until the last of them has left, µs
--          until the cost fits, µs until the first of them has left
-- Invariant: all rules are charged or none. In (t − window, t] there are at most limit tokens, for every t.
--
-- Time is never earlier than the newest entry. If that entry is ahead by more than the longest window, the clock has
-- stepped back. Then the whole log becomes one entry of now, so that the wait is one window at most. This is stored also
-- when the call is refused.
local call, format, min, max = redis.call, string.format, math.min, math.max
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local key, cost = KEYS[1], tonumber(ARGV[1])

local function entry(e)
  local us, n = string.match(e[1], '^(%d+)%-(%d+)$')
  local longest = string.match(e[2][1], '^1h(%d+)$')
  return { us = tonumber(us), seq = tonumber(n), longest = tonumber(longest), before = tonumber(e[2][2]), n = tonumber(e[2][4]) }
end
local function oldest(from)
  local found = call('XRANGE', key, format('%.0f', from), '+', 'COUNT', '1')[1]
  return found and entry(found)
end
local function newest(upto)
  local found = call('XREVRANGE', key, upto, '-', 'COUNT', '1')[1]
  return found and entry(found)
end
-- Returns the time of the first entry with tokens, from e on. Two entries without tokens never follow each other.
local function counted(e)
  if e.n > 0 then
    return e.us
  end
  local found = call('XRANGE', key, format('(%.0f-%.0f', e.us, e.seq), '+', 'COUNT', '1')[1]
  return found and entry(found).us
end
local function add(us, seq, longest, before, n)
  call('XADD', key, format('%.0f-%.0f', us, seq), format('1h%.0f', longest), format('%.0f', before), 'n', format('%.0f', n))
end

local longest = 0
for a = 2, #ARGV, 2 do
  longest = max(longest, tonumber(ARGV[a + 1]))
end
local last = newest('+')
if last and not last.longest then -- a format of another release
  last = nil
  if cost ~= 0 then
    call('DEL', key)
  end
end
local at, total, all = now, 0, nil
if last then
  longest = max(longest, last.longest)
  total = last.before + last.n
  if last.us - now > last.longest then
    local first = oldest(last.us - last.longest + 1)
    all = { us = now, seq = 0, before = 0, n = total - first.before }
    total, last = all.n, { us = now, seq = 0, longest = longest, before = 0, n = all.n }
    if cost ~= 0 then
      call('DEL', key)
      add(now, 0, longest, 0, total)
      call('PEXPIRE', key, format('%.0f', math.ceil(longest / 1000) + 1))
    end
  else
    at = max(now, last.us)
  end
end

if cost < 0 then
  local left, gone, before = -cost, {}, nil
  while last and left >= 0 do
    local e = newest('+')
    if not e or e.us <= at - longest or left == 0 and e.n > 0 then -- tokens that have left the window are not returned
      break
    end
    call('XDEL', key, format('%.0f-%.0f', e.us, e.seq))
    before, left = e.before, left - e.n
  end
  if before then -- one entry remains, even if it is empty: the ids of a stream must grow
    add(at, last.us == at and last.seq + 1 or 0, longest, before, max(0, -left))
  end
  return '+'
end

local used, firsts, retries, admitted = {}, {}, {}, true
for a = 2, #ARGV, 2 do
  local limit, window = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
  local first, u, retry = nil, 0, 0
  if last then
    first = all or oldest(at - window + 1)
    u = first and total - first.before or 0
  end
  local need = u + max(1, cost) - limit
  if need > 0 then
    if cost > 0 then
      admitted = false
    end
    local us = first.us
    if first.n < need then -- find the first instant up to which enough tokens were admitted
      local hi
      us, hi = first.us, last.us
      while us < hi do
        local mid = math.floor((us + hi) / 2)
        local e = newest(format('%.0f', mid))
        if e.before + e.n - first.before >= need then
          hi = mid
        else
          us = mid + 1
        end
      end
    end
    retry = us + window - now
  end
  used[#used + 1], retries[#retries + 1], firsts[#firsts + 1] = u, retry, u > 0 and counted(first) or at
end

if cost > 0 and admitted then
  local seq = last and last.us == at and last.seq + 1 or 0
  add(at, seq, longest, total, cost)
  call('XTRIM', key, 'MINID', '=', format('%.0f', at - longest + 1))
  call('PEXPIRE', key, format('%.0f', math.ceil((at - now + longest) / 1000) + 1))
  last = { us = at }
end
local reply = {}
for i = 1, #used do
  local window = tonumber(ARGV[2 * i + 1])
  local u = used[i]
  if admitted then
    u = u + cost
  end
  local left = u > 0 and firsts[i] + window - now or 0
  reply[i] = format('%.0f %.0f %.0f %.0f', u, u > 0 and last.us + window - now or 0, retries[i], left)
end
return (admitted and '+' or '-') .. table.concat(reply, ' ')
