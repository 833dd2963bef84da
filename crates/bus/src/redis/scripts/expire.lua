-- Forgets leases that expired long ago. KEYS[1]: a shared hash of leases. ARGV: for how many milliseconds an expired one is remembered.
local time, gone = redis.call('TIME'), {}
local before = time[1] * 1000000 + time[2] - tonumber(ARGV[1]) * 1000
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  if tonumber(string.match(all[at + 1], '^%d+ (%d+)')) < before then gone[#gone + 1] = all[at] end
end
for at = 1, #gone, 200 do redis.call('HDEL', KEYS[1], unpack(gone, at, math.min(at + 199, #gone))) end
return #gone
