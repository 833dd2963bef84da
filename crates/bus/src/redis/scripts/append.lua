-- Appends events to a log, each unless its entity has had its number, and tells the newest id on the log's channel. One atomic step.
-- KEYS: the stream, and the hash beside it (g generation, n newest id, o oldest id, =entity its highest number); the channel has the stream's name.
-- ARGV: the bus's epoch, the newest id the caller has seen, then per event: entity, number (20 digits), event id, payload.
local stream, meta = KEYS[1], KEYS[2]
local bus, seen = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', meta, 'g', 'n')
local generation, newest, places = tonumber(kept[1] or bus), tonumber(kept[2] or 0), {}
-- Ids that somebody has seen are gone: they must not come again in the same generation.
if seen > newest then generation, newest = generation + 1, seen end
if bus > generation then generation = bus end
local first = newest
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for at = 3, #ARGV, 4 do
  local entity, number = '=' .. ARGV[at], ARGV[at + 1]
  if number > (redis.call('HGET', meta, entity) or '') then
    newest = newest + 1
    redis.call('XADD', stream, string.format('%.0f-1', newest), 'i', ARGV[at + 2], 'p', ARGV[at + 3], 't', now)
    redis.call('HSET', meta, entity, number)
    places[#places + 1] = newest
  else
    places[#places + 1] = 0
  end
end
if newest > first then
  redis.call('HSET', meta, 'g', string.format('%.0f', generation), 'n', string.format('%.0f', newest))
  if not kept[2] then redis.call('HSET', meta, 'o', string.format('%.0f', first + 1)) end
  redis.call('SPUBLISH', stream, string.format('%.0f', newest))
end
return places
