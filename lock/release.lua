-- Ends what an id has: the mutex, which passes to the first live waiter, or a place in the queue.
--
-- KEYS     1 state  2 queue  3 waiters  4 pulses
-- ARGV     1 id  2 its token, 0 if it does not know of one  3 retention ms  4 SPUBLISH or PUBLISH
-- returns  1 released  2 released before  3 left the queue  0 it had nothing; 10 more if a waiter was not notified,
--          because this user may not publish on its channel
--
-- Invariant: only the owner's id frees a lock, and at most one waiter is woken.

local id, mine = ARGV[1], tonumber(ARGV[2])
local lock = load(1, 'GETEX')
if not lock then
  return redis.error_reply(FORMAT)
end
local had = 0
if lock.owner == id then
  lock.owner, lock.till, lock.changed, had = '-', 0, true, 1
elseif (lock.queued or mine == 0) and leave(lock, id) == 1 then
  had = 3
elseif mine > 0 and mine > (lock.lapsed or 0) and lock.token >= mine then
  had = 2
end

if had == 1 or had == 3 and lock.owner == '-' then
  local now = 0
  if lock.queued then
    now = clock()
    if kind(id) == 'a' then
      lock.till = 0
    end
    turn(lock, '', now, ARGV[4])
  end
  if lock.changed then
    save(lock, now, tonumber(ARGV[3]))
  end
end
return silent and had + 10 or had
