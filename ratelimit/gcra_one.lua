-- The common call: one key, one rule, and a state with this rule only. It answers without the code for several rules and
-- keys, in half of the time. All other calls continue below: a refund, slots of other plans, more units than the maximum.
--
-- KEYS[1]  the state, see gcra_state.lua
local stored = count == 1 and call('GET', KEYS[1])
if count == 1 and rules == 1 and cost >= 0 and (not stored or #stored == 19) then
  local own, per, most = '2' .. ARGV[2], ARGV[4] + 0, ARGV[5] + 0
  local id, tat, up = own, 0, 0
  if stored then
    id, tat, up = read('<c7dI4', stored)
  end
  local units = 0
  if tat > now then
    units = max(0, (tat - now) * per - up)
  end
  if id == own and units <= most then
    local sum = units + cost * ARGV[3]
    if sum > most then
      return -1 - units
    elseif cost == 0 then
      return units
    end
    local ends
    up = -sum % per -- exact: units are below 2^52
    ends = now + (sum + up) / per
    local second = ends - ends % 1000000
    if stored and tat - tat % 1000000 == second then
      call('SETRANGE', KEYS[1], '0', write('<c7dI4', own, ends, up))
    else
      call('SET', KEYS[1], write('<c7dI4', own, ends, up), 'EXAT', format('%d', second / 1000000 + 1))
    end
    return sum
  end
end
