-- The state of a key: "2", the ids (6 letters) of the rules with tokens outstanding, and for each in turn its theoretical
-- arrival time (TAT: the µs at which no tokens are outstanding, a double), and by how many units the TAT is rounded up (32
-- bits). A key expires at the end of the second of its last TAT.
--
-- So if a charge moves the last TAT within the same second, it does not change the expiry. It overwrites the state in
-- place, because a SET with an expiry is the most expensive step of this script. A script does not see keys expire.
--
-- Slots of other plans are kept until their TAT, the last charged first, at most 128: a state stays bounded when rules
-- change at run time.
local ids, drain = {}, {}
local own = '2' -- the start of a state with exactly these rules
for i = 1, rules do
  ids[i], drain[i] = ARGV[4 * i - 2], ARGV[4 * i] + 0
  own = own .. ids[i]
end

local function layout(n)
  return '<c' .. (1 + 6 * n) .. string.rep('dI4', n)
end
local usual, size = layout(rules), 1 + 18 * rules

-- Calls fn for each slot of a state with another layout: id, TAT, rounding.
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

-- Fills held: the TAT of rule i at 2·i, and its rounding at 2·i + 1. Returns how many rules have a slot.
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
  each(state, function(id, tat, up)
    for i = 1, rules do
      if ids[i] == id then
        found = found + 1
        held[2 * i], held[2 * i + 1] = tat, up
      end
    end
  end)
  return found
end

-- Returns a state with exactly these rules, and its last TAT.
local numbers = { own }
local function charged(outstanding)
  local last = 0
  for i = 1, rules do
    local tat, per, up = outstanding[i], drain[i], 0
    if per > 1 then
      up = -tat % per -- exact: units are below 2^52
      tat = (tat + up) / per
    end
    tat = tat + now
    numbers[2 * i], numbers[2 * i + 1] = tat, up
    if tat > last then
      last = tat
    end
  end
  if rules == 1 then
    return write(usual, own, numbers[2], numbers[3]), last
  end
  return write(usual, unpack(numbers, 1, 2 * rules + 1)), last
end

-- As charged, for all other writes: rules may have no units outstanding, and slots of other plans are kept until their TAT.
local slots = 128
local function rewritten(state, outstanding)
  local kept, values, last = '2', {}, 0
  local function keep(id, tat, up)
    kept, last = kept .. id, max(last, tat)
    values[#values + 1] = tat
    values[#values + 1] = up
  end
  local mine = {}
  for i = 1, rules do
    mine[ids[i]] = true
    if outstanding[i] > 0 then
      local up = -outstanding[i] % drain[i]
      keep(ids[i], now + (outstanding[i] + up) / drain[i], up)
    end
  end
  each(state, function(id, tat, up)
    if tat > now and tat < 1e17 and not mine[id] and #values < 2 * slots then
      keep(id, tat, up)
    end
  end)
  return write(layout(#values / 2), kept, unpack(values)), last
end

local function second(us)
  return us - us % 1000000
end

-- Stores a state with its last TAT. A key that was not found may have another type: MGET does not report that, but
-- SET … GET refuses it.
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
