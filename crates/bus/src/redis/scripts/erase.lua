-- Ends a topic for everybody who listens, and leaves nothing of it. KEYS[1]: as in publish.lua.
local meta = redis.call('HMGET', KEYS[1], 'e', 's')
if not meta[2] then return 0 end
redis.call('DEL', KEYS[1])
return redis.call('SPUBLISH', KEYS[1], 'e' .. meta[1] .. string.format(' %.0f\n', meta[2] + 1))
