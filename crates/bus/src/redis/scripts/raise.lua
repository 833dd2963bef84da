-- Somebody has seen a higher number than the topic has: it begins a new epoch, and everybody reads it anew.
-- KEYS[1]: as in publish.lua. ARGV: the bus's epoch, the newest (epoch, seq) seen.
local key, bus, seen_epoch, seen_seq = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local meta = redis.call('HMGET', key, 'e', 's')
if not meta[2] then return 0 end
local epoch, seq = tonumber(meta[1]), tonumber(meta[2]) + 1
if seen_epoch < epoch or (seen_epoch == epoch and seen_seq < seq) then return 0 end
epoch = seen_epoch + 1
if bus > epoch then epoch = bus end
redis.call('HSET', key, 'e', string.format('%.0f', epoch), 's', string.format('%.0f', seq))
redis.call('SPUBLISH', key, 'r' .. string.format('%.0f %.0f\n', epoch, seq))
return 1
