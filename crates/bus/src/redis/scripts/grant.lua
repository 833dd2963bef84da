-- Gives a lease. KEYS[1]: a hash of leases. ARGV: field, holder, milliseconds, whether it is taken from whoever holds it, milliseconds that the hash
-- lives on after it (0: it is shared and stays). Numbers grow by themselves or with the server's clock in microseconds: also when the last is lost.
local key, field, holder, ttl, by_force, after = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local number, until_us, owner = 0, 0, ''
local kept = redis.call('HGET', key, field)
if kept then
  local a, b, c = string.match(kept, '^(%d+) (%d+) (.*)$')
  number, until_us, owner = tonumber(a), tonumber(b), c
end
if not by_force and until_us > now and owner ~= holder then return 'held' end
if by_force or until_us <= now then number = math.max(number + 1, now) end
redis.call('HSET', key, field, string.format('%.0f %.0f %s', number, now + ttl * 1000, holder))
if after > 0 then redis.call('PEXPIRE', key, ttl + after) end
return number
