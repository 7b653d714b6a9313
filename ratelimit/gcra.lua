-- GCRA as a leaky bucket of debt, in exact integers (GCRA: ITU-T I.371, Annex A), for one key or for several that are
-- asked for at the same time.
--
-- KEYS     the states, one after the other, a key as often as it is asked for. A state is "1", then a slot of 32 bytes
--          per rule with debt: id (6 letters), the µs at which the debt is gone (16 digits), and by how many units that
--          instant is rounded up (10 digits)
-- ARGV[1]  cost in tokens, of each key: > 0 charges, 0 only looks, < 0 gives back
-- ARGV[2…] four per rule: id, units per token, units that drain per µs, the most units of debt
-- Returns  one key: its answer; several, for a charge: a list of them. One rule: the debt after the charge, or
--          −1 − debt when refused. Several: "+" or "-", then the debts. A key that is no string: an error in its place.
-- Invariant: of a key all rules are charged or none, a debt never exceeds its rule's most, and a key expires at the end
--          of the second in which its last debt is gone.
--
-- Because of the latter a charge whose debt is gone within the same second as before need not touch the expiry, and
-- changes the text in place: the server's dearest step here is a SET with an expiry. A script sees no key expire.
--
-- A debt above the most was written before the clock stepped back. It counts as the most, and is stored as
-- that also when the call is refused; otherwise the key would be refused until the clock is back.
-- Slots of other plans over a key are kept until their debt is gone.
local call, sub, format, find = redis.call, string.sub, string.format, string.find
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local cost, rules = ARGV[1] + 0, (#ARGV - 1) / 4

local ids, drain, most, charge, slots, numbers = {}, {}, {}, {}, '1', ''
for i = 1, rules do
  local a = 4 * i - 2
  ids[i], charge[i], drain[i], most[i] = ARGV[a], cost * ARGV[a + 1], ARGV[a + 2] + 0, ARGV[a + 3] + 0
  slots = slots .. ARGV[a] .. (drain[i] == 1 and '%016d0000000000' or '%016d%010d') -- whole µs need no rounding
  numbers = numbers .. '%d '
end

local debts, parts = {}, {} -- of the key at hand

-- The state after a charge when it holds no slots but ours, and when its last debt is gone.
local function charged()
  local last, n = 0, 0
  for i = 1, rules do
    local debt = debts[i] + charge[i]
    debts[i] = debt
    if drain[i] > 1 then
      local up = -debt % drain[i] -- exact: debt is below 2^52
      debt = (debt + up) / drain[i]
      parts[n + 2] = up
    end
    debt = debt + now
    parts[n + 1] = debt
    n = n + (drain[i] > 1 and 2 or 1)
    if debt > last then
      last = debt
    end
  end
  return format(slots, unpack(parts)), last
end

-- The same for whatever else is to be written: debts can vanish, and other plans' slots are kept.
local function rewritten(state, admitted)
  local after, last = '1', 0
  for i = 1, rules do
    local debt = debts[i]
    if admitted then
      debt = math.max(0, debt + charge[i])
      debts[i] = debt
    end
    if debt > 0 then
      local up = -debt % drain[i]
      local gone = now + (debt + up) / drain[i]
      after = after .. format('%s%016d%010d', ids[i], gone, up)
      last = math.max(last, gone)
    end
  end
  local own = table.concat(ids, ' ')
  for p = 2, #state, 32 do
    local gone = tonumber(sub(state, p + 6, p + 21))
    if gone and gone > now and not find(own, sub(state, p, p + 5), 1, true) then
      after = after .. sub(state, p, p + 31)
      last = math.max(last, gone)
    end
  end
  return after, last
end

local seconds = {} -- as text
local function set(key, state, last, fresh)
  local s = (last - last % 1000000) / 1000000 + 1
  local text = seconds[s]
  if not text then
    text = format('%d', s)
    seconds[s] = text
  end
  if fresh then -- GET refuses what MGET did not see: a key that is no string
    local old = redis.pcall('SET', key, state, 'EXAT', text, 'GET')
    return type(old) == 'table' and old.err and old
  end
  call('SET', key, state, 'EXAT', text)
end

local states = #KEYS == 1 and { call('GET', KEYS[1]) } or call('MGET', unpack(KEYS))
local written, answers = {}, {}
for k = 1, #KEYS do
  local key = KEYS[k]
  local stored = written[key] or states[k]
  local state = stored
  if not state or #state % 32 ~= 1 or sub(state, 1, 1) ~= '1' then
    state = '1'
  end
  local found, before, admitted, stepped, failed = 0, 0, true, false, nil
  for i = 1, rules do
    local debt = 0
    if state ~= '1' then
      local p = 32 * i - 30 -- where it is if no other plan uses this key
      if sub(state, p, p + 5) ~= ids[i] then
        p = find(state, ids[i], 2, true)
      end
      if p then
        found = found + 1
        local gone, up = tonumber(sub(state, p + 6, p + 21)), 0
        if drain[i] > 1 then
          up = tonumber(sub(state, p + 22, p + 31))
        end
        if gone and up then
          if gone > before then
            before = gone
          end
          debt = (gone - now) * drain[i] - up
          if debt < 0 then
            debt = 0
          elseif not (debt <= most[i]) then
            debt, stepped = most[i], true
          end
        end
      end
    end
    debts[i] = debt
    if debt + charge[i] > most[i] then
      admitted = false
    end
  end

  if cost ~= 0 and (admitted or stepped) then
    local last
    if admitted and cost > 0 and #state == 1 + 32 * found then
      state, last = charged()
      if found == rules and not stepped and before - before % 1000000 == last - last % 1000000 then
        call('SETRANGE', key, '0', state)
      else
        failed = set(key, state, last, not stored)
      end
    else
      state, last = rewritten(state, admitted)
      if last > 0 then
        failed = set(key, state, last, not stored)
      else
        call('DEL', key)
      end
    end
    written[key] = state
  end

  if failed then
    answers[k] = failed
    written[key] = nil
  elseif rules == 1 then
    answers[k] = admitted and debts[1] or -1 - debts[1]
  else
    answers[k] = (admitted and '+' or '-') .. format(numbers, unpack(debts))
  end
end
if #KEYS == 1 then
  return answers[1]
end
return answers
