-- Keeps a process' waiters in the queues of semaphores and read-write locks alive, hands on free permits, and finds
-- waiters that are in no queue.
--
-- KEYS     of each: counter  queue  waiters and tokens  holders  heartbeats
-- ARGV     1 process  2 how long its waiters count as alive µs  3 retention ms  4 SPUBLISH or PUBLISH
--          then for each: permits, number of ids, and these ids of the process' waiters
-- returns  as mutex_heartbeat.lua
--
-- Invariant: as in shared_acquire.lua. GETEX counts as a write that needs no memory, so heartbeats work on a full server.

local now = clock()
local reply, at = {now}, 5
for i = 1, #KEYS / 5 do
  local lock, ids = load(i, 'GETEX'), tonumber(ARGV[at + 1])
  if lock and heartbeat(lock, ARGV[1], now, now + tonumber(ARGV[2]), tonumber(ARGV[3])) then
    expire(lock, now)
    handOn(lock, now, tonumber(ARGV[at]), ARGV[4])
    save(lock, tonumber(ARGV[3]))
    local soonest = redis.call('ZRANGE', lock.holders, 0, 0, 'WITHSCORES')[2]
    reply[#reply + 1] = math.max(1, math.ceil((tonumber(soonest or now) - now) / 1000))
    absent(lock, reply, at + 1, ids)
  else
    reply[#reply + 1] = 1000
    reply[#reply + 1] = -1
  end
  at = at + 2 + ids
end
return reply
