-- Prolongs (milliseconds > 0) or gives back (0) a lease that is the newest of its key. KEYS and ARGV as in grant.lua: field, number, holder, milliseconds,
-- after. A lease that is given back leaves its number; so one that is not there at all was lost by the server, and is still its holder's.
local key, field, ttl, after = KEYS[1], ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local kept = redis.call('HGET', key, field)
local number, owner = ARGV[2], ARGV[3]
if kept then
  local newest, _, holder = string.match(kept, '^(%d+) (%d+) (.*)$')
  if newest ~= number then return 'held' end
  owner = holder
end
local until_us = 0
if ttl > 0 then
  local time = redis.call('TIME')
  until_us = time[1] * 1000000 + time[2] + ttl * 1000
end
redis.call('HSET', key, field, string.format('%s %.0f %s', number, until_us, owner))
if after > 0 then redis.call('PEXPIRE', key, ttl + after) end
return 1
