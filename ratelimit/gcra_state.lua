-- The state of a key: "2", the ids (6 letters) of the rules with debt, and of each in turn the µs at which the debt is gone (a double) and by
-- how many units that instant is rounded up (32 bits). A key expires at the end of the second in which its last debt is gone.
--
-- Because of the latter a charge whose debt is gone within the same second as before need not touch the expiry, and changes the state in
-- place: the server's dearest step here is a SET with an expiry. A script sees no key expire.
--
-- Slots of other plans are kept while they have debt, those charged last first, and 128 at most: a state does not grow without end when rules
-- change at run time.
local ids, drain = {}, {}
local own = '2' -- how a state begins that has these rules' debts and no others
for i = 1, rules do
  ids[i], drain[i] = ARGV[4 * i - 2], ARGV[4 * i] + 0
  own = own .. ids[i]
end

local function layout(n)
  return '<c' .. (1 + 6 * n) .. string.rep('dI4', n)
end
local usual, size = layout(rules), 1 + 18 * rules

-- each calls fn for each slot of a state that is not laid out as usual: its id, and its two numbers.
local function each(state, fn)
  local n = (#state - 1) / 18
  if n % 1 ~= 0 or sub(state, 1, 1) ~= '2' then
    return -- of another format
  end
  local values = { read(layout(n), state) }
  for k = 1, n do
    fn(sub(state, 6 * k - 4, 6 * k + 1), values[2 * k], values[2 * k + 1])
  end
end

-- find fills held: when each rule's debt is gone at 2·i, its rounding at 2·i + 1. It returns how many rules have a slot.
local held = {}
local function find(state)
  if #state == size then
    if rules == 1 then
      held[1], held[2], held[3] = read(usual, state)
    else
      held = { read(usual, state) }
    end
    if held[1] == own then
      return rules
    end
  end
  local found = 0
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
  return found
end

-- charged returns a state of these rules' debts and no others, and when its last debt is gone.
local numbers = { own }
local function charged(debts)
  local last = 0
  for i = 1, rules do
    local gone, per, up = debts[i], drain[i], 0
    if per > 1 then
      up = -gone % per -- exact: a debt is below 2^52
      gone = (gone + up) / per
    end
    gone = gone + now
    numbers[2 * i], numbers[2 * i + 1] = gone, up
    if gone > last then
      last = gone
    end
  end
  if rules == 1 then
    return write(usual, own, numbers[2], numbers[3]), last
  end
  return write(usual, unpack(numbers, 1, 2 * rules + 1)), last
end

-- rewritten is charged for whatever else is to be written: debts can vanish, and slots of other plans are kept until their debt is gone.
local slots = 128
local function rewritten(state, debts)
  local kept, values, last = '2', {}, 0
  local function keep(id, gone, up)
    kept, last = kept .. id, max(last, gone)
    values[#values + 1] = gone
    values[#values + 1] = up
  end
  local mine = {}
  for i = 1, rules do
    mine[ids[i]] = true
    if debts[i] > 0 then
      local up = -debts[i] % drain[i]
      keep(ids[i], now + (debts[i] + up) / drain[i], up)
    end
  end
  each(state, function(id, gone, up)
    if gone > now and gone < 1e17 and not mine[id] and #values < 2 * slots then
      keep(id, gone, up)
    end
  end)
  return write(layout(#values / 2), kept, unpack(values)), last
end

local function second(us)
  return us - us % 1000000
end

-- set stores a state that ends at last. A key that was not found can be one that is no string: MGET does not say so, SET … GET refuses it.
local seconds = {} -- as text
local function set(key, state, last, found)
  local s = second(last) / 1000000 + 1
  local at = seconds[s]
  if not at then
    at = format('%d', s)
    seconds[s] = at
  end
  if found then
    call('SET', key, state, 'EXAT', at)
    return
  end
  local old = redis.pcall('SET', key, state, 'EXAT', at, 'GET')
  return type(old) == 'table' and old.err and old
end
