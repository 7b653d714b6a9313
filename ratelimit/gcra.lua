-- GCRA as a leaky bucket of debt, in exact integers (GCRA: ITU-T I.371, Annex A).
--
-- KEYS[1]  the state: "1", then a slot of 32 bytes per rule with debt: id (6 letters), the µs at which the
--          debt is gone (16 digits), and by how many units that instant is rounded up (10 digits)
-- ARGV[1]  cost in tokens: > 0 charges, 0 only looks, < 0 gives back
-- ARGV[2…] four per rule: id, units per token, units that drain per µs, the most units of debt
-- Returns  one rule: the debt after the charge, or −1 − debt when refused. Several: "+" or "-", then the debts.
-- Invariant: all rules are charged or none, and a debt never exceeds its rule's most.
--
-- A debt above the most was written before the clock stepped back. It counts as the most, and is stored as
-- that also when the call is refused; otherwise the key would be refused until the clock is back.
-- Slots of other plans over this key are kept until their debt is gone.
local call, sub, format = redis.call, string.sub, string.format
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local cost = ARGV[1] + 0
local state = call('GET', KEYS[1])
if not state or #state % 32 ~= 1 or sub(state, 1, 1) ~= '1' then
  state = '1'
end

local debts, rules, found, admitted, stepped = {}, (#ARGV - 1) / 4, 0, true, false
for i = 1, rules do
  local a = 4 * i - 2
  local debt, most = 0, ARGV[a + 3] + 0
  if state ~= '1' then
    local id, p = ARGV[a], 32 * i - 30 -- where it is if no other plan uses this key
    if sub(state, p, p + 5) ~= id then
      p = string.find(state, id, 2, true)
    end
    if p then
      found = found + 1
      local gone, up = tonumber(sub(state, p + 6, p + 21)), tonumber(sub(state, p + 22, p + 31))
      if gone and up then
        debt = (gone - now) * ARGV[a + 2] - up
        if debt < 0 then
          debt = 0
        elseif not (debt <= most) then
          debt, stepped = most, true
        end
      end
    end
  end
  debts[i] = debt
  if debt + cost * ARGV[a + 1] > most then
    admitted = false
  end
end

if cost ~= 0 and (admitted or stepped) then
  local slots, longest = '1', 0
  for i = 1, rules do
    local a = 4 * i - 2
    local debt = debts[i]
    if admitted then
      debt = debt + cost * ARGV[a + 1]
      if debt < 0 then
        debt = 0
      end
      debts[i] = debt
    end
    if debt > 0 then
      local drain = ARGV[a + 2] + 0
      local up = -debt % drain -- exact: debt is below 2^52
      local left = (debt + up) / drain
      slots = slots .. format('%s%016d%010d', ARGV[a], now + left, up)
      if left > longest then
        longest = left
      end
    end
  end
  if #state > 1 + 32 * found then
    local own = table.concat(ARGV, ' ')
    for p = 2, #state, 32 do
      local gone = tonumber(sub(state, p + 6, p + 21))
      if gone and gone > now and not string.find(own, sub(state, p, p + 5), 1, true) then
        slots = slots .. sub(state, p, p + 31)
        longest = math.max(longest, gone - now)
      end
    end
  end
  if longest > 0 then
    call('SET', KEYS[1], slots, 'PX', (longest - longest % 1000) / 1000 + 2)
  else
    call('DEL', KEYS[1])
  end
end

if rules == 1 then
  return admitted and debts[1] or -1 - debts[1]
end
local reply = admitted and '+' or '-'
for i = 1, rules do
  reply = reply .. format('%d ', debts[i])
end
return reply
