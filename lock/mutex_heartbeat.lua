-- Keeps a process' waiters in the queues of mutexes alive, hands on free locks, and finds waiters that are in no queue.
--
-- KEYS     of each lock: state  queue  waiters  heartbeats
-- ARGV     1 process  2 how long its waiters count as alive µs  3 retention ms  4 SPUBLISH or PUBLISH
--          then for each lock: number of ids, and these ids of the process' waiters
-- returns  {now, then for each lock: ms until it may be free, n, n indexes of ids that are not in its queue}; n is −1
--          if all waiters of the process must ask again, and −2 if the lock is reserved for an All
--
-- Invariant: as in mutex_acquire.lua. GETEX counts as a write that needs no memory, so heartbeats work on a full server.

local now = clock()
local reply, at = {now}, 5
for i = 1, #KEYS / 4 do
  local lock, ids = load(i, 'GETEX'), tonumber(ARGV[at])
  if lock and heartbeat(lock, ARGV[1], now, now + tonumber(ARGV[2]), tonumber(ARGV[3])) then
    if free(lock, now) then
      lock.queued = true
      mayTake(lock, '', now, ARGV[4])
    end
    if lock.changed then
      save(lock, now, tonumber(ARGV[3]))
    end
    reply[#reply + 1] = math.max(1, math.ceil((lock.leaseEnd - now) / 1000))
    if lock.owner == '-' then
      reply[#reply + 1] = -2
    else
      absent(lock, reply, at, ids)
    end
  else
    reply[#reply + 1] = 1000
    reply[#reply + 1] = -1
  end
  at = at + 1 + ids
end
return reply
