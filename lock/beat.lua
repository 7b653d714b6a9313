-- Keeps a process' places in the queues of semaphores and read-write locks alive, passes on what is free, and finds
-- waiters that are in no queue.
--
-- KEYS     of each: counter  queue  waiters and tokens  holders  pulses
-- ARGV     1 process  2 how long its waiters count as alive µs  3 retention ms  4 SPUBLISH or PUBLISH
--          then for each: permits, how many ids follow, and these ids of the process' waiters
-- returns  as pulse.lua
--
-- Invariant: as enter.lua. GETEX counts as a write that needs no memory, so waiters live on a full server.

local now = clock()
local reply, at = {now}, 5
for i = 1, #KEYS / 5 do
  local lock, ids = load(i, 'GETEX'), tonumber(ARGV[at + 1])
  if lock and alive(lock, ARGV[1], now, now + tonumber(ARGV[2]), tonumber(ARGV[3])) then
    expire(lock, now)
    pass(lock, now, tonumber(ARGV[at]), ARGV[4])
    save(lock, tonumber(ARGV[3]))
    local soon = redis.call('ZRANGE', lock.holders, 0, 0, 'WITHSCORES')[2]
    reply[#reply + 1] = math.max(1, math.ceil((tonumber(soon or now) - now) / 1000))
    absent(lock, reply, at + 1, ids)
  else
    reply[#reply + 1] = 1000
    reply[#reply + 1] = -1
  end
  at = at + 2 + ids
end
return reply
