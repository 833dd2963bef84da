-- Keeps one record of a partition, and the checkpoints that go with it. One atomic step. Entries of leases that were lost are left out.
-- KEYS, all of the partition: leases, the stream of records (their ids and ages), the hash of their bodies, what is known of it (b: bytes of all), the
-- checkpoints, and the last flush of this writer.
-- ARGV: when it was gathered, what tells this flush from others, how many entries; per entry driver, lease (20 digits), bytes; the same per checkpoint.
local leases, index, records, about, checkpoints, last = unpack(KEYS)
local at, flush, entries = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- The answer to the first try was lost: nothing is kept twice.
local before = redis.call('HMGET', last, 'flush', 'reply')
if before[1] == flush then return cmsgpack.unpack(before[2]) end

local newest = {}
local function is_stale(driver, lease)
  if newest[driver] == nil then
    local kept = redis.call('HGET', leases, driver)
    newest[driver] = kept and tonumber(string.match(kept, '^%d+')) or 0
  end
  return tonumber(lease) < newest[driver]
end
local reply, parts, place = {''}, {}, 0
for first = 4, 3 + 3 * entries, 3 do
  if is_stale(ARGV[first], ARGV[first + 1]) then reply[#reply + 1] = place else parts[#parts + 1] = ARGV[first + 2] end
  place = place + 1
end
local body = table.concat(parts)
-- Ids grow with the server's clock: none comes again, whatever a failover loses.
local id = redis.call('XADD', index, '*', 't', at)
redis.call('HSET', records, id, body)
redis.call('HINCRBY', about, 'b', #body)
for first = 4 + 3 * entries, #ARGV, 3 do
  if not is_stale(ARGV[first], ARGV[first + 1]) then
    redis.call('HSET', checkpoints, ARGV[first], id .. ' ' .. at .. ' ' .. ARGV[first + 2])
  end
end
reply[1] = id
-- Written over, not away: a key that is gone for a moment would be looked for elsewhere while its slot moves.
redis.call('HSET', last, 'flush', flush, 'reply', cmsgpack.pack(reply))
redis.call('PEXPIRE', last, 600000)
return reply
