-- GCRA as a leaky bucket of units, in exact integers (GCRA: ITU-T I.371, Annex A), for one key or for several keys of
-- concurrent calls. It is included after gcra_rules.lua, gcra_one.lua and gcra_state.lua.
--
-- KEYS     the states, in the order of the calls; a key may occur several times
-- ARGV     see gcra_rules.lua
-- Returns  per key and rule, in one list, the units outstanding after the charge; after a refusal, −1 − units of every
--          rule. For one key and one rule: the number itself. For a key of another type: an error in place of its first
--          number
-- Invariant: all rules of a key are charged or none. The units outstanding never exceed the rule's maximum.
--
-- Units above the maximum were written before the clock stepped back. They count as the maximum, and this is stored also
-- when the call is refused. Otherwise the key would be refused until the clock is back.
local most, charge = {}, {}
for i = 1, rules do
  charge[i], most[i] = cost * ARGV[4 * i - 1], ARGV[4 * i + 1] + 0
end

-- Decides on the key in held. Fills outstanding and after: the units of each rule before and after this call. Returns
-- whether the call is admitted, whether the clock stepped back, whether any units are outstanding, and the last TAT.
local outstanding, after = {}, {}
local function decide()
  local admitted, stepped, used, last = true, false, false, 0
  for i = 1, rules do
    local tat, limit, units = held[2 * i], most[i], 0
    if tat > last then
      last = tat
    end
    if tat > now then
      used = true
      units = (tat - now) * drain[i] - held[2 * i + 1]
      if units < 0 then
        units = 0
      elseif not (units <= limit) then
        units, stepped = limit, true
      end
    end
    local sum = units + charge[i]
    if sum > limit then
      admitted = false
    elseif sum < 0 then
      sum = 0
    end
    outstanding[i], after[i] = units, sum
  end
  return admitted, stepped, used, last
end

local states = count == 1 and { stored } or call('MGET', unpack(KEYS))
local written, answers, place = {}, {}, 0
local fresh, freshLast -- the state after a charge of an unused key: the same for each such key

-- Writes a key whose state has slots of these rules only: found slots, and before is their last TAT.
local function charge_key(key, known, found, used, before)
  local state, last = fresh, freshLast
  if used or not fresh then
    state, last = charged(after)
    if not used then
      fresh, freshLast = state, last
    end
  end
  if found == rules and second(before) == second(last) then
    call('SETRANGE', key, '0', state)
    return state
  end
  return state, set(key, state, last, known or count == 1)
end

-- Writes all other keys: after a refund, with slots of other plans, and after the clock stepped back.
local function rewrite_key(key, state, known, units)
  local state, last = rewritten(state, units)
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
  local admitted, stepped, used, before = decide()
  if cost ~= 0 and (admitted or stepped) then
    if admitted and cost > 0 and (state == '' or #state == 1 + 18 * found) then
      state, failed = charge_key(key, known, found, used, before)
    else
      state, failed = rewrite_key(key, state, known, admitted and after or outstanding)
    end
    written[key] = not failed and state or nil
  end

  for i = 1, rules do
    answers[place + i] = admitted and after[i] or -1 - outstanding[i]
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
