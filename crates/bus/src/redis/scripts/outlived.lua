-- Forgets checkpoints of drivers who are long gone, some at a time. KEYS[1]: the checkpoints. ARGV: where to go on, and Unix milliseconds before which they go.
local scanned = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 200)
for at = 1, #scanned[2], 2 do
  local kept_ms = tonumber(string.match(scanned[2][at + 1], '^%S+ (%-?%d+) '))
  if kept_ms and kept_ms < tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], scanned[2][at]) end
end
return scanned[1]
