-- Ends what an id has: the mutex, which passes to the first live waiter, or a place in the queue.
--
-- KEYS     1 state  2 queue  3 waiters
-- ARGV     1 id  2 its token, 0 if it does not know of one  3 retention ms  4 SPUBLISH or PUBLISH
-- returns  1 released  2 released before  3 left the queue  0 it had nothing
--
-- Invariant: only the owner's id frees a lock, and at most one waiter is woken.

local id, mine = ARGV[1], tonumber(ARGV[2])
local _, readable = load()
if not readable then
  return redis.error_reply(FORMAT)
end

if owner == id then
  local now = 0
  owner, till = '-', 0
  if queued then
    now = clock()
    local head, channel, grant, empty = first(now)
    if head then
      pass(now, head, channel, grant, ARGV[4])
    else
      queued = not empty
    end
  end
  save(now, tonumber(ARGV[3]))
  return 1
end

if (queued or mine == 0) and leave(id) == 1 then
  return 3
end
if mine > lapsed and token >= mine and mine > 0 then
  return 2
end
return 0
