-- GCRA as a leaky bucket of debt, in exact integers (GCRA: ITU-T I.371, Annex A), for one key or for several that are
-- asked for at the same time. Included before it: gcra_rules.lua, gcra_one.lua, gcra_state.lua.
--
-- KEYS     the states, one after the other, a key as often as it is asked for
-- ARGV     see gcra_rules.lua
-- Returns  per key and rule, one after the other, the debt after the charge, or −1 − debt of every rule when refused.
--          One key and one rule: the number itself. A key that is no string: an error in the place of its first number.
-- Invariant: of a key all rules are charged or none, and a debt never exceeds its rule's most.
--
-- A debt above the most was written before the clock stepped back. It counts as the most, and is stored as
-- that also when the call is refused; otherwise the key would be refused until the clock is back.
local most, charge = {}, {}
for i = 1, rules do
  charge[i], most[i] = cost * ARGV[4 * i - 1], ARGV[4 * i + 1] + 0
end

-- look decides on the key in held. It fills debts and after, what each rule's debt is and what it is after this call, and returns whether
-- that is admitted, whether the clock stepped back, whether there is any debt, and when the last one is gone.
local debts, after = {}, {}
local function look()
  local admitted, stepped, owing, last = true, false, false, 0
  for i = 1, rules do
    local gone, limit, debt = held[2 * i], most[i], 0
    if gone > last then
      last = gone
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
  return admitted, stepped, owing, last
end

local states = count == 1 and { stored } or call('MGET', unpack(KEYS))
local written, answers, place = {}, {}, 0
local rested, restedLast -- what a charge leaves of a key without debts: the same of each

-- charge_key writes a key whose state has no slots but these rules', found of them, the last of which ended before.
local function charge_key(key, known, found, owing, before)
  local state, last = rested, restedLast
  if owing or not rested then
    state, last = charged(after)
    if not owing then
      rested, restedLast = state, last
    end
  end
  if found == rules and second(before) == second(last) then
    call('SETRANGE', key, '0', state)
    return state
  end
  return state, set(key, state, last, known or count == 1)
end

-- rewrite_key writes everything else: after a refund, next to other plans' slots, and when the clock stepped back.
local function rewrite_key(key, state, known, debt)
  local state, last = rewritten(state, debt)
  if last == 0 then
    call('DEL', key)
    return state
  end
  return state, set(key, state, last, known or count == 1)
end

for k = 1, count do
  local key = KEYS[k]
  local known = written[key] or states[k]
  local state, failed = known or '', nil
  local found = find(state)
  local admitted, stepped, owing, before = look()
  if cost ~= 0 and (admitted or stepped) then
    if admitted and cost > 0 and (state == '' or #state == 1 + 18 * found) then
      state, failed = charge_key(key, known, found, owing, before)
    else
      state, failed = rewrite_key(key, state, known, admitted and after or debts)
    end
    written[key] = not failed and state or nil
  end

  for i = 1, rules do
    answers[place + i] = admitted and after[i] or -1 - debts[i]
  end
  if failed then
    answers[place + 1] = failed
  end
  place = place + rules
end
if place == 1 then
  return answers[1]
end
return answers
