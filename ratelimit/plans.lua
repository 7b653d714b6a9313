-- Stores or deletes the rules of one plan of a limiter.
--
-- KEYS[1]  hash: "version"; "plans" and "bytes", the number and the size of all plans; and for each plan "=" and its name
--          → its rules
-- ARGV[1]  the plan's field;  ARGV[2]  its rules, or "" to delete it;  ARGV[3]  most plans;  ARGV[4]  most bytes
-- Returns  the version; −1 if there would be too many plans or bytes
-- Invariant: every change makes a greater version. This also holds after the key was lost, unless the clock stepped back
-- in the meantime.
--
-- The key has no expiry: rules exist until they are deleted. The key is deleted with its last plan.
local call = redis.call
local key, field, rules = KEYS[1], ARGV[1], ARGV[2]
local t = call('TIME')
local head = call('HMGET', key, 'version', 'plans', 'bytes', field)
local version, plans, bytes, old = tonumber(head[1] or 0), tonumber(head[2] or 0), tonumber(head[3] or 0), head[4]

if old then
  plans, bytes = plans - 1, bytes - #field - #old
end
if rules ~= '' then
  plans, bytes = plans + 1, bytes + #field + #rules
  if plans > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4]) then
    return -1
  end
elseif not old then
  return version
end

version = math.max(version + 1, t[1] * 1000000 + t[2])
if plans == 0 then
  call('DEL', key)
  return version
end
if rules == '' then
  call('HDEL', key, field)
else
  call('HSET', key, field, rules)
end
call('HSET', key, 'version', string.format('%.0f', version), 'plans', plans, 'bytes', bytes)
return version
