-- The format of a mutex and its only parser. Every script that reads a mutex includes this file.
--
-- A state is the text "1 <token> <leaseEnd> <expired> <queued> <owner>". 1 is the version of the format.
--   token     last token that was granted
--   leaseEnd  end of the lease, µs of the server's clock
--   expired   last token whose lease ended without a release
--   queued    1 if a waiter may exist
--   owner     id of the owner; - while the lock is free
-- If a free lock has a leaseEnd above 0, it is reserved until then for the All at the head of its queue. The text
-- outlives the lease, so that the token never starts again.

local FORMAT = 'WRONGTYPE the stored value is not a lock of this release'

-- Patterns of the two common cases. Each capture costs as much as a comparison of two states.
local FREE = '^1 (%d+) 0 (%d+) 0 %-$' -- free, and the queue is empty: token, expired
local UNQUEUED = '^1 (%d+) %d+ (%d+) 0 (%S+)$' -- the queue is empty: token, expired, owner

-- Returns the five fields as text. If there is no state, expired is nil. If the format is another one, returns nil.
local function parse(state)
  if not state then
    return '0', '0', nil, '0', '-'
  end
  return string.match(state, '^1 (%d+) (%d+) (%d+) ([01]) (%S+)$')
end

