-- Ends a topic with its whole final state, and leaves a tombstone that expires.
-- KEYS[1]: as in publish.lua. ARGV: the record's version, milliseconds to keep, the bus's epoch, the newest (epoch, seq) seen, then the fields.
local key, version, bus = KEYS[1], ARGV[1], tonumber(ARGV[3])
local seen_epoch, seen_seq = tonumber(ARGV[4]), tonumber(ARGV[5])
local meta = redis.call('HMGET', key, 'e', 's', 'r', 'x')
if meta[4] then return 'ended' end
if version < (meta[3] or '') then return 'fenced' end
local epoch, seq = tonumber(meta[1] or bus), tonumber(meta[2] or 0)
if bus > epoch then epoch = bus end
if seen_epoch > epoch or (seen_epoch == epoch and seen_seq > seq) then epoch = seen_epoch + 1 end
seq = seq + 1
local set = {'e', string.format('%.0f', epoch), 's', string.format('%.0f', seq), 'r', version, 'x', '1'}
local parts = {'e', string.format('%.0f %.0f\n', epoch, seq)}
for at = 6, #ARGV, 2 do
  if ARGV[at + 1] ~= 'null' then set[#set + 1] = '=' .. ARGV[at]; set[#set + 1] = ARGV[at + 1] end
  parts[#parts + 1] = #ARGV[at] .. ',' .. #ARGV[at + 1] .. ':' .. ARGV[at] .. ARGV[at + 1]
end
-- Never without a field in between: a key that is gone for a moment would be looked for elsewhere while its slot moves.
local stays, gone = {}, {}
for at = 1, #set, 2 do stays[set[at]] = true end
for _, field in ipairs(redis.call('HKEYS', key)) do if not stays[field] then gone[#gone + 1] = field end end
for at = 1, #set, 200 do redis.call('HSET', key, unpack(set, at, math.min(at + 199, #set))) end
for at = 1, #gone, 200 do redis.call('HDEL', key, unpack(gone, at, math.min(at + 199, #gone))) end
redis.call('PEXPIRE', key, ARGV[2])
redis.call('SPUBLISH', key, table.concat(parts))
return {epoch, seq, 0}
