-- Releases what an id has: the mutex, which is handed to the first live waiter, or a place in the queue.
--
-- KEYS     1 state  2 queue  3 waiters  4 heartbeats
-- ARGV     1 id  2 its token, 0 if the caller knows none  3 retention ms  4 SPUBLISH or PUBLISH
-- returns  1 released  2 released before  3 left the queue  0 the id had nothing; plus 10 if a waiter was not notified,
--          because this user may not publish on its channel
--
-- Invariant: only the owner's id frees a lock. At most one waiter is notified.

local id, token = ARGV[1], tonumber(ARGV[2])
local lock = load(1, 'GETEX')
if not lock then
  return redis.error_reply(FORMAT)
end
local answer = 0
if lock.owner == id then
  lock.owner, lock.leaseEnd, lock.changed, answer = '-', 0, true, 1
elseif (lock.queued or token == 0) and dequeue(lock, id) == 1 then
  answer = 3
elseif token > 0 and token > (lock.expired or 0) and lock.token >= token then
  answer = 2
end

if answer == 1 or answer == 3 and lock.owner == '-' then
  local now = 0
  if lock.queued then
    now = clock()
    if kind(id) == 'a' then
      lock.leaseEnd = 0
    end
    mayTake(lock, '', now, ARGV[4])
  end
  if lock.changed then
    save(lock, now, tonumber(ARGV[3]))
  end
end
return unnotified and answer + 10 or answer
