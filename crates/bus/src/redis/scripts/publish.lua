-- Sets fields of a topic, takes the next number, announces both. One atomic step.
-- KEYS[1]: the topic's hash; also the name of its sharded channel.
-- ARGV: kind of writer, its two fencing numbers, the bus's epoch, the newest (epoch, seq) the caller has seen, then name, value, name, value, ...
-- Fencing numbers have 20 digits, so that they compare as text: a number of Lua holds 53 bits only.
-- The hash: e epoch, s seq, t tracker's fence, r record's version, x ended, g owners of removed fields; =name a field, @name its owner.
local key, writer, first, second = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local bus, seen_epoch, seen_seq = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local meta = redis.call('HMGET', key, 'e', 's', 't', 'r', 'x')
if meta[5] then return 'ended' end

local set, gone = {}, {}
if writer == 'tracker' then
  if not meta[2] then return 'absent' end
  if first .. second < (meta[3] or '') then return 'fenced' end
  set = {'t', first .. second}
elseif writer == 'record' then
  if first < (meta[4] or '') then return 'fenced' end
  set = {'r', first}
  if second .. string.rep('0', 20) > (meta[3] or '') then set[3], set[4] = 't', second .. string.rep('0', 20) end
else
  for at = 7, #ARGV, 2 do
    local owner = redis.call('HGET', key, '@' .. ARGV[at])
    if owner and string.sub(owner, 1, 20) > first then return 'fenced' end
  end
  local now, removed = redis.call('TIME')[1], 0
  for at = 7, #ARGV, 2 do
    set[#set + 1] = '@' .. ARGV[at]
    if ARGV[at + 1] == 'null' then
      set[#set + 1], removed = first .. ':' .. now, removed + 1
    else
      set[#set + 1] = first
    end
  end
  -- Owners of removed fields are remembered for three minutes at least. Looked through when there are many, so that it costs next to nothing.
  if removed > 0 then
    local many = redis.call('HINCRBY', key, 'g', removed)
    if many >= 64 and many * 4 >= redis.call('HLEN', key) then
      local all, kept = redis.call('HGETALL', key), 0
      for at = 1, #all, 2 do
        if string.sub(all[at], 1, 1) == '@' and #all[at + 1] > 20 then
          if now - string.sub(all[at + 1], 22) > 180 then gone[#gone + 1] = all[at] else kept = kept + 1 end
        end
      end
      set[#set + 1], set[#set + 2] = 'g', kept
    end
  end
end

local kind, epoch, seq = 'd', tonumber(meta[1]), tonumber(meta[2])
if not seq then
  kind, epoch, seq = 'c', bus, 0
  if seen_epoch >= epoch then epoch = seen_epoch + 1 end
elseif bus > epoch or seen_epoch > epoch or (seen_epoch == epoch and seen_seq > seq) then
  -- Numbers that somebody has seen are gone: they must not come again inside the epoch.
  kind = 'r'
  if bus > epoch then epoch = bus else epoch = epoch + 1 end
  if seen_epoch >= epoch then epoch = seen_epoch + 1 end
end
seq = seq + 1
local parts = {kind, string.format('%.0f %.0f\n', epoch, seq)}
for at = 7, #ARGV, 2 do
  local name, value = ARGV[at], ARGV[at + 1]
  if value == 'null' then gone[#gone + 1] = '=' .. name else set[#set + 1] = '=' .. name; set[#set + 1] = value end
  parts[#parts + 1] = #name .. ',' .. #value .. ':' .. name .. value
end
for at = 1, #set, 200 do redis.call('HSET', key, unpack(set, at, math.min(at + 199, #set))) end
redis.call('HSET', key, 'e', string.format('%.0f', epoch), 's', string.format('%.0f', seq))
for at = 1, #gone, 200 do redis.call('HDEL', key, unpack(gone, at, math.min(at + 199, #gone))) end
return {epoch, seq, redis.call('SPUBLISH', key, table.concat(parts))}
