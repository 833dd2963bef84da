-- What all nodes agree on: the epoch of the bus, which servers it lives on, and who has rebuilt their topics in this epoch.
-- KEYS[1]: the hash of the house. ARGV: the newest epoch the caller knows, then the ids of all primaries that answered it. An id changes with every start and
-- every promotion of a server, so a new one says that something may be lost: a new epoch begins.
local key, known, fresh = KEYS[1], tonumber(ARGV[1]), {}
for at = 2, #ARGV do
  if redis.call('HSETNX', key, 'id:' .. ARGV[at], '1') == 1 then fresh[#fresh + 1] = ARGV[at] end
end
local epoch = tonumber(redis.call('HGET', key, 'epoch') or 0)
if #fresh > 0 or epoch == 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  epoch = math.max(epoch + 1, known + 1, now)
  redis.call('HSET', key, 'epoch', string.format('%.0f', epoch))
  local all = redis.call('HGETALL', key)
  if #all > 2000 then
    -- Servers of long ago.
    for at = 1, #all, 2 do if string.sub(all[at], 1, 3) == 'id:' then redis.call('HDEL', key, all[at]) end end
    for at = 2, #ARGV do redis.call('HSET', key, 'id:' .. ARGV[at], '1') end
  end
end
local reply, all = {epoch}, redis.call('HGETALL', key)
for at = 1, #all, 2 do
  if string.sub(all[at], 1, 6) == 'ready:' and tonumber(all[at + 1]) == epoch then reply[#reply + 1] = string.sub(all[at], 7) end
end
return reply
