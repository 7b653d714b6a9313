-- The format of a mutex and its only parser, in front of every script that reads one.
-- A state is the text "1 <token> <until> <lapsed> <queued> <owner>". 1 is the format. Until is when the lease ends,
-- in µs of the server's clock. Lapsed is the last token that ended without a release. Queued is 1 if a waiter may
-- exist. Owner is - while the lock is free; a free lock whose until is not 0 is kept for the All at the head of its
-- queue until then. The text outlives the lease, because the token must not start again.

local FORMAT = 'WRONGTYPE what is stored here is not a lock of this release'

-- What take.lua and give.lua, the common cases, look for: each capture costs as much as a comparison of states.
local VACANT = '^1 (%d+) 0 (%d+) 0 %-$' -- free, and its queue is empty: token, lapsed
local UNQUEUED = '^1 (%d+) %d+ (%d+) 0 (%S+)$' -- token, lapsed, owner

-- Returns the five fields as text, without lapsed if there is no state, or nil if the format is another one.
local function parse(state)
  if not state then
    return '0', '0', nil, '0', '-'
  end
  return string.match(state, '^1 (%d+) (%d+) (%d+) ([01]) (%S+)$')
end

