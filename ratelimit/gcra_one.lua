-- The usual call: one key, one rule, and a state that has this rule's debt alone. It answers without what several rules and keys need, in
-- half of the time. Everything else goes on below it: a refund, slots of other plans, a debt above the most.
--
-- KEYS[1]  the state, see gcra_state.lua
local stored = count == 1 and call('GET', KEYS[1])
if count == 1 and rules == 1 and cost >= 0 and (not stored or #stored == 19) then
  local own, per, most = '2' .. ARGV[2], ARGV[4] + 0, ARGV[5] + 0
  local id, gone, up = own, 0, 0
  if stored then
    id, gone, up = read('<c7dI4', stored)
  end
  local debt = 0
  if gone > now then
    debt = max(0, (gone - now) * per - up)
  end
  if id == own and debt <= most then
    local sum = debt + cost * ARGV[3]
    if sum > most then
      return -1 - debt
    elseif cost == 0 then
      return debt
    end
    local ends
    up = -sum % per -- exact: a debt is below 2^52
    ends = now + (sum + up) / per
    local second = ends - ends % 1000000
    if stored and gone - gone % 1000000 == second then
      call('SETRANGE', KEYS[1], '0', write('<c7dI4', own, ends, up))
    else
      call('SET', KEYS[1], write('<c7dI4', own, ends, up), 'EXAT', format('%d', second / 1000000 + 1))
    end
    return sum
  end
end
