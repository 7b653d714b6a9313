-- GCRA as a leaky bucket of debt, in exact integers (GCRA: ITU-T I.371, Annex A), for one key or for several that are
-- asked for at the same time.
--
-- KEYS     the states, one after the other, a key as often as it is asked for. A state is "1", then a slot of 32 bytes
--          per rule with debt: id (6 letters), the µs at which the debt is gone (16 digits), and by how many units that
--          instant is rounded up (10 digits)
-- ARGV[1]  cost in tokens, of each key: > 0 charges, 0 only looks, < 0 gives back
-- ARGV[2…] four per rule: id, units per token, units that drain per µs, the most units of debt
-- Returns  per key and rule, one after the other, the debt after the charge, or −1 − debt of every rule when refused.
--          One key and one rule: the number itself. A key that is no string: an error in the place of its first number.
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
local cost, rules, count = ARGV[1] + 0, (#ARGV - 1) / 4, #KEYS

local ids, drain, most, charge = {}, {}, {}, {}
for i = 1, rules do
  local a = 4 * i - 2
  ids[i], charge[i], drain[i], most[i] = ARGV[a], cost * ARGV[a + 1], ARGV[a + 2] + 0, ARGV[a + 3] + 0
end
local first = '1' .. ids[1] -- how a state begins if no other plan uses its key

local debts = {} -- of the key at hand, by rule

-- The state when it holds the debts' slots and no others, and when its last debt is gone.
local layout, digits
local function text()
  if not layout then
    layout, digits = '1', {}
    for i = 1, rules do
      layout = layout .. ids[i] .. (drain[i] == 1 and '%016d0000000000' or '%016d%010d') -- whole µs need no rounding
    end
  end
  local last, n = 0, 0
  for i = 1, rules do
    local gone, per = debts[i], drain[i]
    if per > 1 then
      local up = -gone % per -- exact: a debt is below 2^52
      gone = (gone + up) / per
      digits[n + 2] = up
    end
    gone = gone + now
    digits[n + 1] = gone
    n = n + (per > 1 and 2 or 1)
    if gone > last then
      last = gone
    end
  end
  return format(layout, unpack(digits)), last
end

-- The same for whatever else is to be written: debts can vanish, and other plans' slots are kept.
local function rewritten(state)
  local after, last = '1', 0
  for i = 1, rules do
    local debt = debts[i]
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
for k = 1, count do
  local key = KEYS[k]
  local stored = written[key] or states[k]
  local state, usual = stored, false
  if not state or #state % 32 ~= 1 then
    state = '1'
  elseif sub(state, 1, 7) == first then
    usual = true
  elseif sub(state, 1, 1) ~= '1' then
    state = '1'
  end

  local found, before, admitted, stepped, owing, failed = 0, 0, true, false, false, nil
  for i = 1, rules do
    local debt, limit = 0, most[i]
    if state ~= '1' then
      local p = 32 * i - 30 -- where it is if no other plan uses this key
      if i == 1 and not usual or i > 1 and sub(state, p, p + 5) ~= ids[i] then
        p = find(state, ids[i], 2, true)
      end
      if p then
        found = found + 1
        local gone = tonumber(sub(state, p + 6, p + 21))
        if gone then
          if gone > before then
            before = gone
          end
          if gone > now then
            owing = true
            debt = (gone - now) * drain[i]
            if drain[i] > 1 then
              debt = debt - (tonumber(sub(state, p + 22, p + 31)) or debt)
            end
            if debt < 0 then
              debt = 0
            elseif not (debt <= limit) then
              debt, stepped = limit, true
            end
          end
        end
      end
    end
    debts[i] = debt
    if debt + charge[i] > limit then
      admitted = false
    end
  end

  if cost ~= 0 and (admitted or stepped) then
    local last
    if admitted and cost > 0 and #state == 1 + 32 * found then
      for i = 1, rules do
        debts[i] = debts[i] + charge[i]
      end
      if owing then
        state, last = text()
      else
        if not rested then
          rested, restedLast = text()
        end
        state, last = rested, restedLast
      end
      if found == rules and not stepped and before - before % 1000000 == last - last % 1000000 then
        call('SETRANGE', key, '0', state)
      else
        failed = set(key, state, last, not stored)
      end
    else
      if admitted then
        for i = 1, rules do
          debts[i] = math.max(0, debts[i] + charge[i])
        end
      end
      state, last = rewritten(state)
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
    answers[place + i] = admitted and debts[i] or -1 - debts[i]
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
