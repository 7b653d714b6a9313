-- GCRA as a leaky bucket of debt, in exact integers (GCRA: ITU-T I.371, Annex A), for one key or for several that are
-- asked for at the same time.
--
-- KEYS     the states, one after the other, a key as often as it is asked for. A state is "2", the ids (6 letters) of the
--          rules with debt, and of each in turn the µs at which the debt is gone (a double) and by how many units that
--          instant is rounded up (32 bits)
-- ARGV[1]  cost in tokens, of each key: > 0 charges, 0 only looks, < 0 gives back
-- ARGV[2…] four per rule: id, units per token, units that drain per µs, the most units of debt
-- Returns  per key and rule, one after the other, the debt after the charge, or −1 − debt of every rule when refused.
--          One key and one rule: the number itself. A key that is no string: an error in the place of its first number.
-- Invariant: of a key all rules are charged or none, a debt never exceeds its rule's most, and a key expires at the end
--          of the second in which its last debt is gone.
--
-- Because of the latter a charge whose debt is gone within the same second as before need not touch the expiry, and
-- changes the state in place: the server's dearest step here is a SET with an expiry. A script sees no key expire.
--
-- A debt above the most was written before the clock stepped back. It counts as the most, and is stored as
-- that also when the call is refused; otherwise the key would be refused until the clock is back.
-- Slots of other plans over a key are kept until their debt is gone.
local call, sub, format, max = redis.call, string.sub, string.format, math.max
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local cost, rules, count = ARGV[1] + 0, (#ARGV - 1) / 4, #KEYS

local ids, drain, most, charge = {}, {}, {}, {}
local own = '2' -- how a state begins that has these rules' debts and no others
for i = 1, rules do
  local a = 4 * i - 2
  ids[i], charge[i], drain[i], most[i] = ARGV[a], cost * ARGV[a + 1], ARGV[a + 2] + 0, ARGV[a + 3] + 0
  own = own .. ids[i]
end

-- write(layout(n), beginning, numbers) makes a state of n debts, read(layout(n), state) the reverse.
local write, read, slot, layout
if rawget(_G, 'struct') then
  write, read, slot = struct.pack, struct.unpack, 12
  layout = function(n) return '<c' .. (1 + 6 * n) .. string.rep('dI4', n) end
else -- the embedded engine: in decimal
  write, slot = format, 26
  read = function(text, state)
    local n = select(2, string.gsub(text, '10d', ''))
    local out = { sub(state, 1, 1 + 6 * n) }
    for p = 2 + 6 * n, #state, slot do
      out[#out + 1] = tonumber(sub(state, p, p + 15)) or 0
      out[#out + 1] = tonumber(sub(state, p + 16, p + 25)) or 0
    end
    return unpack(out)
  end
  layout = function(n) return '%s' .. string.rep('%016d%010d', n) end
end
local usual, size = layout(rules), 1 + (6 + slot) * rules

local debts, after = {}, {} -- of the key at hand, by rule: as found, and if this is charged
local numbers = { own }
for i = 1, rules do
  numbers[2 * i + 1] = 0
end

-- The state when it holds the debts' slots and no others, and when its last debt is gone.
local function charged()
  local last = 0
  for i = 1, rules do
    local gone, per = after[i], drain[i]
    if per > 1 then
      local up = -gone % per -- exact: a debt is below 2^52
      gone = (gone + up) / per
      numbers[2 * i + 1] = up
    end
    gone = gone + now
    numbers[2 * i] = gone
    if gone > last then
      last = gone
    end
  end
  if rules == 1 then
    return write(usual, own, numbers[2], numbers[3]), last
  end
  return write(usual, unpack(numbers, 1, 2 * rules + 1)), last
end

-- others calls fn for each slot of a state that is not laid out as usual: its id, and its two numbers.
local function each(state, fn)
  local n = (#state - 1) / (6 + slot)
  if n % 1 ~= 0 or sub(state, 1, 1) ~= '2' then
    return -- nobody's
  end
  local values = { read(layout(n), state) }
  for k = 1, n do
    fn(sub(state, 6 * k - 4, 6 * k + 1), values[2 * k], values[2 * k + 1])
  end
end

-- The same as charged for whatever else is to be written: debts can vanish, and other plans' slots are kept.
local function rewritten(state, owed)
  local kept, values, last = '2', {}, 0
  local function keep(id, gone, up)
    kept, last = kept .. id, max(last, gone)
    values[#values + 1] = gone
    values[#values + 1] = up
  end
  local mine = {}
  for i = 1, rules do
    mine[ids[i]] = true
    local debt = owed[i]
    if debt > 0 then
      local up = -debt % drain[i]
      keep(ids[i], now + (debt + up) / drain[i], up)
    end
  end
  each(state, function(id, gone, up)
    if gone > now and gone < 1e17 and not mine[id] then
      keep(id, gone, up)
    end
  end)
  return write(layout(#values / 2), kept, unpack(values)), last
end

local seconds = {} -- as text
local function set(key, state, last, fresh)
  local s = (last - last % 1000000) / 1000000 + 1
  local at = seconds[s]
  if not at then
    at = format('%d', s)
    seconds[s] = at
  end
  if fresh then -- GET refuses what MGET did not see: a key that is no string
    local old = redis.pcall('SET', key, state, 'EXAT', at, 'GET')
    return type(old) == 'table' and old.err and old
  end
  call('SET', key, state, 'EXAT', at)
end

local states = count == 1 and { call('GET', KEYS[1]) } or call('MGET', unpack(KEYS))
local written, answers, place = {}, {}, 0
local rested, restedLast -- what a charge leaves of a key without debts: the same of each
local held = {} -- of the key at hand: when each debt is gone, and its rounding
for k = 1, count do
  local key = KEYS[k]
  local stored = written[key] or states[k]
  local state, found = stored or '', 0
  if #state == size then
    if rules == 1 then
      held[1], held[2], held[3] = read(usual, state)
    else
      held = { read(usual, state) }
    end
    found = held[1] == own and rules or 0
  end
  if found == 0 then
    for i = 1, rules do
      held[2 * i] = 0
    end
    each(state, function(id, gone, up)
      for i = 1, rules do
        if ids[i] == id then
          found = found + 1
          held[2 * i], held[2 * i + 1] = gone, up
        end
      end
    end)
  end

  local before, admitted, stepped, owing, failed = 0, true, false, false, nil
  for i = 1, rules do
    local gone, limit, debt = held[2 * i], most[i], 0
    if gone > before then
      before = gone
    end
    if gone > now then
      owing = true
      debt = (gone - now) * drain[i] - held[2 * i + 1]
      if debt < 0 then
        debt = 0
      elseif not (debt <= limit) then
        debt, stepped = limit, true
      end
    end
    local sum = debt + charge[i]
    if sum > limit then
      admitted = false
    elseif sum < 0 then
      sum = 0
    end
    debts[i], after[i] = debt, sum
  end

  if cost ~= 0 and (admitted or stepped) then
    local last
    if admitted and cost > 0 and (state == '' or #state == 1 + (6 + slot) * found) then
      if owing then
        state, last = charged()
      else
        if not rested then
          rested, restedLast = charged()
        end
        state, last = rested, restedLast
      end
      if found == rules and before - before % 1000000 == last - last % 1000000 then
        call('SETRANGE', key, '0', state)
      else
        failed = set(key, state, last, not stored)
      end
    else
      state, last = rewritten(state, admitted and after or debts)
      if last > 0 then
        failed = set(key, state, last, not stored)
      else
        call('DEL', key)
      end
    end
  if count > 1 then
      written[key] = state
    end
  end

  for i = 1, rules do
    answers[place + i] = admitted and after[i] or -1 - debts[i]
  end
  if failed and count == 1 then
    return failed
  elseif failed then
    answers[place + 1] = failed
    written[key] = nil
  end
  place = place + rules
end
if place == 1 then
  return answers[1]
end
return answers
