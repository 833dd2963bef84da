-- Drops the oldest events of a log. KEYS as in append.lua. ARGV: most events to keep, and Unix milliseconds before which they are too old.
local kept = redis.call('HMGET', KEYS[2], 'n', 'o')
if not kept[1] then return 0 end
local newest, was = tonumber(kept[1]), tonumber(kept[2] or 1)
local oldest = math.max(was, newest - tonumber(ARGV[1]) + 1)
-- Some at a time; the rest goes with the next sweeps.
for _, event in ipairs(redis.call('XRANGE', KEYS[1], string.format('%.0f', oldest), '+', 'COUNT', 1000)) do
  if tonumber(event[2][6]) >= tonumber(ARGV[2]) then break end
  oldest = tonumber(string.match(event[1], '^%d+')) + 1
end
if oldest == was then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', oldest))
redis.call('HSET', KEYS[2], 'o', string.format('%.0f', oldest))
return oldest - was
