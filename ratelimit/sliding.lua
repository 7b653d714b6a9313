-- Sliding window counter: the count of the present window, and the share of the last window's count that still overlaps,
-- as if its requests had been spread evenly. Windows are aligned to the epoch.
--
-- KEYS[1]  the state: "1", then a slot of 54 bytes per rule with counts: id (6 letters), the µs at which they stop to
--          count, which is one window after the present one's end (16 digits), present and last count (16 digits each)
-- ARGV[1]  cost in tokens: > 0 charges, 0 only reads, < 0 returns tokens of this window
-- ARGV[2…] three per rule: id, limit, window in µs
-- Returns  "+" or "-", then per rule: present count after the charge, last count, µs until the present window ends
-- Invariant: all rules are charged or none. At a charge, present + last · overlap never exceeds the limit.
--
-- Windows in the future were written before the clock stepped back: then time stands still at their start. If they start
-- later than the next window, both counts are moved to the next window as one count, so that the wait is three windows at
-- most. This is stored also when the call is refused.
-- Slots of other plans of this key are kept while they count, the last charged first, at most 128 slots.
local call, sub, format = redis.call, string.sub, string.format
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local cost = tonumber(ARGV[1])
local state = call('GET', KEYS[1])
if not state or sub(state, 1, 1) ~= '1' or #state % 54 ~= 1 then
  state = '1'
end

local present, last, ends, admitted, stepped = {}, {}, {}, true, false
for a = 2, #ARGV, 3 do
  local limit, window = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local cur, prev, fin = 0, 0, now - math.fmod(now, window) + window
  local p = string.find(state, ARGV[a], 2, true)
  if p then
    local over = tonumber(sub(state, p + 6, p + 21))
    local c, b = tonumber(sub(state, p + 22, p + 37)), tonumber(sub(state, p + 38, p + 53))
    if over and c and b then
      local was = over - window
      if was > fin + window then
        stepped = true
        cur, fin = math.min(c + b, limit), fin + window
      elseif was >= fin then
        cur, prev, fin = math.min(c, limit), math.min(b, limit), was
      elseif was == fin - window then
        prev = math.min(c, limit)
      end
    end
  end
  present[#present + 1], last[#last + 1], ends[#ends + 1] = cur, prev, fin
  if prev * math.min(fin - now, window) > (limit - cur - cost) * window then
    admitted = false
  end
end
if cost < 0 then
  admitted = true
end

if cost ~= 0 and (admitted or stepped) then
  local slots, expire, own = { '1' }, now, {}
  for i = 1, #present do
    local a = 3 * i - 1
    if admitted then
      present[i] = math.max(0, present[i] + cost)
    end
    own[ARGV[a]] = true
    if present[i] + last[i] > 0 then
      local over = ends[i] + ARGV[a + 2]
      slots[#slots + 1] = format('%s%016.0f%016.0f%016.0f', ARGV[a], over, present[i], last[i])
      expire = math.max(expire, over)
    end
  end
  for p = 2, #state, 54 do
    local over = tonumber(sub(state, p + 6, p + 21))
    if over and over > now and not own[sub(state, p, p + 5)] and #slots <= 128 then
      slots[#slots + 1] = sub(state, p, p + 53)
      expire = math.max(expire, over)
    end
  end
  if #slots > 1 then
    call('SET', KEYS[1], table.concat(slots), 'PX', format('%.0f', math.ceil((expire - now) / 1000) + 1))
  else
    call('DEL', KEYS[1])
  end
end

local reply = {}
for i = 1, #present do
  reply[i] = format('%.0f %.0f %.0f', present[i], last[i], ends[i] - now)
end
return (admitted and '+' or '-') .. table.concat(reply, ' ')
