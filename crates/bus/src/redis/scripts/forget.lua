-- Writes a log anew without what names a text. A stream keeps the bytes of what is deleted in it; so it is replaced by one that never had them.
-- KEYS: as in append.lua, and a third of the same slot for the new stream. ARGV: the text, and whether events go on with null in its place.
local text, keeps = ARGV[1], ARGV[2] == '1'
redis.call('HDEL', KEYS[2], '=' .. text)
local quoted, deleted, redacted, left = '"' .. string.gsub(text, '%W', '%%%0') .. '"', 0, 0, 0
redis.call('DEL', KEYS[3])
for _, event in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  local id, payload, stays = event[2][2], event[2][4], true
  if string.find(payload, text, 1, true) or string.find(id, text, 1, true) then
    payload = string.gsub(payload, quoted, 'null')
    stays = keeps and not string.find(payload, text, 1, true) and not string.find(id, text, 1, true)
    if stays then redacted = redacted + 1 else deleted = deleted + 1 end
  end
  if stays then
    redis.call('XADD', KEYS[3], event[1], 'i', id, 'p', payload, 't', event[2][6])
    left = left + 1
  end
end
if left > 0 then redis.call('RENAME', KEYS[3], KEYS[1]) else redis.call('DEL', KEYS[1]) end
return {deleted, redacted}
