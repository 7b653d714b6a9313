-- The arguments of the GCRA scripts: the time, the cost and the rules.
--
-- ARGV[1]  cost in tokens, of each key: > 0 charges, 0 only reads, < 0 returns tokens
-- ARGV[2…] four per rule: id, units per token, units that drain per µs, maximum of units outstanding
local call, sub, format, max = redis.call, string.sub, string.format, math.max
local write, read = struct.pack, struct.unpack
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local cost, rules, count = ARGV[1] + 0, (#ARGV - 1) / 4, #KEYS
