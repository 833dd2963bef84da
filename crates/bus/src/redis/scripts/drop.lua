-- Drops records that are too old, some at a time, and tells how many bytes are left. KEYS: the stream of records, their bodies, what is known of the partition.
-- ARGV: Unix milliseconds before which they are too old, and milliseconds and count of the newest id that may go.
local before, ms, count, left = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 256
for _, record in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', left)) do
  local own_ms, own_count = string.match(record[1], '^(%d+)-(%d+)$')
  own_ms, own_count = tonumber(own_ms), tonumber(own_count)
  local may_go = own_ms < ms or (own_ms == ms and own_count <= count)
  if tonumber(record[2][2]) >= before or not may_go then break end
  redis.call('HINCRBY', KEYS[3], 'b', -redis.call('HSTRLEN', KEYS[2], record[1]))
  redis.call('HDEL', KEYS[2], record[1])
  redis.call('XDEL', KEYS[1], record[1])
end
return tonumber(redis.call('HGET', KEYS[3], 'b') or 0)
