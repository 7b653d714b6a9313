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
local cost = tonumber(ARGV[1])
local state = call('GET', KEYS[1])
if not state or sub(state, 1, 1) ~= '1' or #state % 32 ~= 1 then
  state = '1'
end

local debts, admitted, stepped, found = {}, true, false, 0
for a = 2, #ARGV, 4 do
  local debt, most = 0, tonumber(ARGV[a + 3])
  if state ~= '1' then
    local p = string.find(state, ARGV[a], 2, true)
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
  debts[#debts + 1] = debt
  if debt + cost * ARGV[a + 1] > most then
    admitted = false
  end
end

if cost ~= 0 and (admitted or stepped) then
  local slots, last, own = { '1' }, now, {}
  for i = 1, #debts do
    local a = 4 * i - 2
    local debt = debts[i]
    if admitted then
      debt = debt + cost * ARGV[a + 1]
      if debt < 0 then
        debt = 0
      end
      debts[i] = debt
    end
    own[ARGV[a]] = true
    if debt > 0 then
      local drain = tonumber(ARGV[a + 2])
      local over = math.fmod(debt, drain)
      local gone, up = now + (debt - over) / drain, 0
      if over > 0 then
        gone, up = gone + 1, drain - over
      end
      slots[#slots + 1] = format('%s%016.0f%010.0f', ARGV[a], gone, up)
      if gone > last then
        last = gone
      end
    end
  end
  if #state > 1 + 32 * found then
    for p = 2, #state, 32 do
      local gone = tonumber(sub(state, p + 6, p + 21))
      if gone and gone > now and not own[sub(state, p, p + 5)] then
        slots[#slots + 1] = sub(state, p, p + 31)
        if gone > last then
          last = gone
        end
      end
    end
  end
  if #slots > 1 then
    call('SET', KEYS[1], table.concat(slots), 'PX', format('%.0f', math.ceil((last - now) / 1000) + 1))
  else
    call('DEL', KEYS[1])
  end
end

if #debts == 1 then
  return admitted and debts[1] or -1 - debts[1]
end
for i = 1, #debts do
  debts[i] = format('%.0f', debts[i])
end
return (admitted and '+' or '-') .. table.concat(debts, ' ')
