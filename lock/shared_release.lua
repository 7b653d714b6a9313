-- Releases what an id has: its permits or its side, which are handed to the first waiters, or a place in the queue.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders  5 heartbeats
-- ARGV     1 id  2 its token, unused  3 retention ms  4 SPUBLISH or PUBLISH  5 permits
-- returns  1 released  3 left the queue  0 the id had nothing; plus 10 if a waiter was not notified, because this user
--          may not publish on its channel
--
-- Invariant: only the id itself releases what it has. A permit notifies at most one waiter. A writer that releases
-- notifies the first writer or, if no writer waits, the readers.

local id = ARGV[1]
local lock = load(1, 'GETEX')
if not lock then
  return redis.error_reply(FORMAT)
end
local answer = remove(lock, id)
if answer == 0 and dequeue(lock, id) == 1 then
  answer = 3
end
if answer > 0 then
  local now = clock()
  expire(lock, now)
  local _, _, handed = handOn(lock, now, tonumber(ARGV[5]), ARGV[4])
  if handed then
    save(lock, tonumber(ARGV[3]))
  end
end
return unnotified and answer + 10 or answer
