-- Some records of a partition. KEYS: the stream of records and the hash of their bodies. ARGV: after which id, and how many.
local reply = {}
for _, record in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])) do
  reply[#reply + 1] = record[1]
  reply[#reply + 1] = record[2][2]
  reply[#reply + 1] = redis.call('HGET', KEYS[2], record[1])
end
return reply
