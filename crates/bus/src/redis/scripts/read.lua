-- One moment of a log: its bounds and some events. KEYS as in append.lua. ARGV: the bus's epoch, what to start with (now, oldest, after), generation, id, limit.
local kept = redis.call('HMGET', KEYS[2], 'g', 'n', 'o')
local bus, newest, oldest = tonumber(ARGV[1]), tonumber(kept[2] or 0), tonumber(kept[3] or 1)
local generation = tonumber(kept[1] or bus)
if bus > generation then
  generation = bus
  if kept[1] then redis.call('HSET', KEYS[2], 'g', ARGV[1]) end
end
if ARGV[2] == 'now' then return {generation, newest, newest, 0, {}} end
local after = oldest - 1
if ARGV[2] == 'after' then
  after = tonumber(ARGV[4])
  if tonumber(ARGV[3]) ~= generation or after > newest or after + 1 < oldest then return {generation, newest, newest, 1, {}} end
end
local events = redis.call('XRANGE', KEYS[1], string.format('%.0f', after + 1), '+', 'COUNT', ARGV[5])
return {generation, newest, after, 0, events}
