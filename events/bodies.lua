-- The budget of bodies in a reply, shared by poll.lua and recover.lua. This text precedes both.
--
-- budget: bytes of bodies in the reply; most: bytes that the script looks at, and one fetch more; chunk: events per fetch.
-- An event whose body exceeds the rest of the budget is a stub: the reply has its id and its size, and
-- stubs lists both. With the whole budget of 1 MiB, one body of up to 2 MiB travels alone.
local budget, most, chunk -- set by the script before it reads
local fetched, left, stubs = 0, 0, {}

-- content returns channel, field and body of an entry. An entry of another program has the field '?' and
-- its whole text as body.
local function content(entry)
  local f = entry[2]
  if f[1] == 'c' and f[4] then return f[2], f[3], f[4] end
  return '', '?', table.concat(f, ' ')
end

-- parts returns field and body of a parked event. A pattern that captures the body would scan each byte.
local function parts(item)
  local _, last, field = string.find(item, '^%S+ (%S+) ')
  if not last then return '?', item end
  return field, string.sub(item, last + 1)
end

-- fits reports whether a body goes into the reply. A body of 1 to 2 MiB travels alone in a reply with the
-- whole budget of 1 MiB. So the server need not read it a second time. The consumer has room for 2 MiB.
local function fits(id, size)
  if size <= left or left == budget and budget >= 1048576 and size <= 2 * budget then
    left = math.max(left - size, 0)
    return true
  end
  stubs[#stubs + 1] = id
  stubs[#stubs + 1] = size
  return false
end

local function spent() return fetched > 0 and fetched >= most end

-- handed returns a part of a parked list: { channel, {"<id> <field> <body>"…}, {attempts…}, list length }.
local function handed(tries, list, channel, skip, want)
  local items, attempts, length = {}, {}, redis.call('LLEN', list)
  while #items < want and skip + #items < length and not spent() do
    local from = skip + #items
    for _, it in ipairs(redis.call('LRANGE', list, from, from + math.min(chunk, want - #items) - 1)) do
      local _, head = string.find(it, '^%S+ %S+ ')
      local id = string.match(it, '^%S+')
      fetched = fetched + #it
      items[#items + 1] = fits(id, #it - head) and it or string.sub(it, 1, head)
      attempts[#items] = redis.call('HGET', tries, id) or '0'
    end
  end
  return { channel, items, attempts, length }
end
