-- Fixed window: a count per window. Windows are aligned to the epoch, or start when a calendar's periods do.
--
-- KEYS[1]  the state: "1", then a slot of 38 bytes per rule with a count: id (6 letters), end of its window in µs
--          (16 digits), count (16 digits)
-- ARGV[1]  cost in tokens: > 0 charges, 0 only reads, < 0 returns tokens of this window
-- ARGV[2…] three per rule: id, limit, and the window in µs or five starts of calendar windows in µs
-- Returns  "+" or "-", then per rule: the count after the charge, µs until its window ends. If the time is not within the
--          first three windows of a calendar: "?" and the time in µs, and nothing was changed
-- Invariant: all rules are charged or none. A window never counts more than its limit.
--
-- A window in the future was written before the clock stepped back. Its count remains until the window ends. If it starts
-- later than the next window, it is moved to the next window, so that the wait is two windows at most. This is stored also
-- when the call is refused.
-- Slots of other plans of this key are kept until their windows end, the last charged first, at most 128 slots.
local call, sub, format = redis.call, string.sub, string.format
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local cost = tonumber(ARGV[1])
local state = call('GET', KEYS[1])
if not state or sub(state, 1, 1) ~= '1' or #state % 38 ~= 1 then
  state = '1'
end

-- Returns the end of the present window, and the end of the next one. Returns nothing if the starts do not cover them.
local function around(windows)
  local window = tonumber(windows)
  if window then
    local fin = now - math.fmod(now, window) + window
    return fin, fin + window
  end
  local first, fin
  for at in string.gmatch(windows, '%d+') do
    at = tonumber(at)
    if fin then
      return fin, at
    elseif first and at > now then
      fin = at
    elseif at > now then
      return
    end
    first = true
  end
end

local counts, ends, admitted, stepped = {}, {}, true, false
for a = 2, #ARGV, 3 do
  local limit, count = tonumber(ARGV[a + 1]), 0
  local fin, later = around(ARGV[a + 2])
  if not later then
    return '?' .. format('%.0f', now)
  end
  local p = string.find(state, ARGV[a], 2, true)
  if p then
    local was, n = tonumber(sub(state, p + 6, p + 21)), tonumber(sub(state, p + 22, p + 37))
    if was and n and was >= fin then
      count = math.min(n, limit)
      if was > later then
        stepped = true
        was = later
      end
      fin = was
    end
  end
  counts[#counts + 1] = count
  ends[#ends + 1] = fin
  if count + cost > limit then
    admitted = false
  end
end

if cost ~= 0 and (admitted or stepped) then
  local slots, last, own = { '1' }, now, {}
  for i = 1, #counts do
    local id = ARGV[3 * i - 1]
    if admitted then
      counts[i] = math.max(0, counts[i] + cost)
    end
    own[id] = true
    if counts[i] > 0 then
      slots[#slots + 1] = format('%s%016.0f%016.0f', id, ends[i], counts[i])
      last = math.max(last, ends[i])
    end
  end
  for p = 2, #state, 38 do
    local fin = tonumber(sub(state, p + 6, p + 21))
    if fin and fin > now and not own[sub(state, p, p + 5)] and #slots <= 128 then
      slots[#slots + 1] = sub(state, p, p + 37)
      last = math.max(last, fin)
    end
  end
  if #slots > 1 then
    call('SET', KEYS[1], table.concat(slots), 'PX', format('%.0f', math.ceil((last - now) / 1000) + 1))
  else
    call('DEL', KEYS[1])
  end
end

local reply = {}
for i = 1, #counts do
  reply[i] = format('%.0f %.0f', counts[i], ends[i] - now)
end
return (admitted and '+' or '-') .. table.concat(reply, ' ')
