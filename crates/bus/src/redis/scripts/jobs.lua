-- A queue of jobs. Every call is one atomic step; the first argument says which.
-- KEYS, all in one slot: a stream of ids with the consumer group "workers" (whose pending entries are the claims), and hashes and sorted sets beside it:
-- records (JSON by id), payloads, results, waiting (by order), delayed (by the time of the next try), running (by the last renewal), ended (by time; not yet
-- collected), dead (by time), about (n: counts what happened, and gives the order).
-- The stream alone is never trusted with a job: an entry is an id, and the record beside it says what is true. An entry is deleted in the step that ends
-- it, so that the stream holds exactly what waits or runs and nothing has to be trimmed.
local stream, records, payloads, results = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local waiting, delayed, running, ended, dead, about = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local GROUP = 'workers'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%.0f', number) end

local function get(id)
  local text = redis.call('HGET', records, id)
  return text and cjson.decode(text)
end
local function put(id, job) redis.call('HSET', records, id, cjson.encode(job)) end

-- Tells those who wait on the channel.
local function wake()
  redis.call('SPUBLISH', stream, redis.call('HINCRBY', about, 'n', 1))
end

local function leave(id, job)
  if job.entry then
    redis.pcall('XACK', stream, GROUP, job.entry)
    redis.call('XDEL', stream, job.entry)
    job.entry = nil
  end
  for _, set in ipairs({waiting, delayed, running, ended, dead}) do redis.call('ZREM', set, id) end
end

local function line_up(id, job)
  leave(id, job)
  job.state, job.changed = 'waiting', now
  job.entry = redis.call('XADD', stream, '*', 'job', id)
  redis.call('ZADD', waiting, redis.call('HINCRBY', about, 'order', 1), id)
  put(id, job)
end

local function delay(id, job, after)
  leave(id, job)
  job.state, job.changed = 'waiting', now
  redis.call('ZADD', delayed, now + after, id)
  put(id, job)
end

local function finish(id, job, state, reason)
  leave(id, job)
  job.state, job.changed, job.reason, job.claim = state, now, reason, nil
  redis.call('ZADD', ended, now, id)
  if state == 'dead' then redis.call('ZADD', dead, now, id) end
  put(id, job)
  wake()
end

local function take(id, job, worker)
  -- Higher than any before, also of a job of the same id that is forgotten. As text: JSON here has 14 digits.
  job.claim = whole(math.max(tonumber(job.claim or '0') + 1, time[1] * 1000000 + time[2]))
  job.state, job.worker, job.changed = 'running', worker, now
  redis.call('ZREM', waiting, id)
  redis.call('ZADD', running, now, id)
  put(id, job)
  return {id, redis.call('HGET', payloads, id) or '', job.claim, job.failures}
end

-- The job behind an entry, if the entry is still what stands for it. Others are leftovers and are cleared away.
local function behind(entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  local id = found and found[2][2]
  local job = id and get(id)
  if job and job.entry == entry then return id, job end
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
end

local function count_loss(id, job, losses_max)
  job.losses = job.losses + 1
  if job.losses < losses_max then return true end
  finish(id, job, 'dead', job.losses .. ' workers were lost while they had this job')
end

-- Jobs without an entry of their own should not be: somebody has trimmed or deleted the stream. They line up again.
local function repair(lease, losses_max)
  local repaired = 0
  for _, id in ipairs(redis.call('ZRANGE', waiting, 0, 99)) do
    local job = get(id)
    if not job then
      redis.call('ZREM', waiting, id)
    elseif not redis.call('XRANGE', stream, job.entry, job.entry)[1] then
      line_up(id, job)
      repaired = repaired + 1
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', running, '-inf', now - 2 * lease, 'LIMIT', 0, 100)) do
    local job = get(id)
    if not job then
      redis.call('ZREM', running, id)
    else
      local pending = redis.pcall('XPENDING', stream, GROUP, job.entry, job.entry, 1)
      local is_there = not pending.err and pending[1] and redis.call('XRANGE', stream, job.entry, job.entry)[1]
      if not is_there and count_loss(id, job, losses_max) then
        line_up(id, job)
        repaired = repaired + 1
      end
    end
  end
  return repaired
end

local function next_job(worker, lease, losses_max)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)) do
    local job = get(id)
    if job then line_up(id, job) else redis.call('ZREM', delayed, id) end
  end
  -- Those whose worker was lost come first. One page holds at most one claimed entry, and an empty page is not the end.
  local cursor = '0-0'
  repeat
    local page = redis.call('XAUTOCLAIM', stream, GROUP, worker, lease, cursor, 'COUNT', 1)
    cursor = page[1]
    for _, found in ipairs(page[2]) do
      local id, job = behind(found[1])
      if id and count_loss(id, job, losses_max) then return take(id, job, worker) end
    end
  until cursor == '0-0'
  while true do
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', 1, 'STREAMS', stream, '>')
    if not reply then return false end
    local id, job = behind(reply[1][2][1][1])
    if id and job.state == 'waiting' then return take(id, job, worker) end
  end
end

-- Flat, for a reader that knows no JSON.
local function shown(id, job)
  local ahead = job.state == 'waiting' and redis.call('ZRANK', waiting, id)
  return {id, job.state, redis.call('HGET', payloads, id) or '', redis.call('HGET', results, id) or false, job.reason or false,
    job.failures, job.losses, job.enqueued, job.changed, ahead or false}
end
local function all_shown(ids)
  local list = {}
  for _, id in ipairs(ids) do
    local job = get(id)
    if job then list[#list + 1] = shown(id, job) end
  end
  return list
end

local function drop(id)
  for _, hash in ipairs({records, payloads, results}) do redis.call('HDEL', hash, id) end
  for _, set in ipairs({waiting, delayed, running, ended, dead}) do redis.call('ZREM', set, id) end
end

local function claimed(id, claim)
  local job = get(id)
  if job and job.state == 'running' and job.claim == claim then return job end
end

local calls = {}

function calls.enqueue(id, payload)
  local job = get(id)
  if job then return job.state end
  redis.call('HSET', payloads, id, payload)
  line_up(id, {failures = 0, losses = 0, enqueued = now})
  wake()
  return 'waiting'
end

function calls.claim(worker, lease, losses_max)
  lease, losses_max = tonumber(lease), tonumber(losses_max)
  -- From the beginning: whoever deleted the group has not deleted the jobs.
  if redis.call('EXISTS', stream) == 0 or #redis.call('XINFO', 'GROUPS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
  local repaired = 0
  if now - tonumber(redis.call('HGET', about, 'repaired') or '0') > lease then
    redis.call('HSET', about, 'repaired', whole(now))
    repaired = repair(lease, losses_max)
  end
  local claim = next_job(worker, lease, losses_max)
  return {repaired, claim}
end

function calls.renew(id, claim)
  local job = claimed(id, claim)
  if not job then return 0 end
  -- JUSTID leaves the count of deliveries alone. The owner was checked above: XCLAIM itself would take the entry from anybody.
  redis.call('XCLAIM', stream, GROUP, job.worker, 0, job.entry, 'JUSTID')
  redis.call('ZADD', running, now, id)
  return 1
end

function calls.finish(id, claim, result)
  local job = claimed(id, claim)
  if not job then return 0 end
  redis.call('HSET', results, id, result)
  finish(id, job, 'done')
  return 1
end

function calls.fail(id, claim, reason, again, after, failures_max)
  local job = claimed(id, claim)
  if not job then return 'lost' end
  if again == 'after' then job.failures = job.failures + 1 end
  if again == 'never' then job.failures = tonumber(failures_max) end
  if job.failures >= tonumber(failures_max) then
    finish(id, job, 'dead', reason)
    return 'dead'
  end
  job.reason = reason
  if tonumber(after) > 0 then delay(id, job, tonumber(after)) else line_up(id, job) end
  wake()
  return 'waiting'
end

function calls.cancel(id)
  local job = get(id)
  if not job then return false end
  if job.state == 'waiting' or job.state == 'running' then finish(id, job, 'cancelled', 'cancelled') end
  return job.state
end

function calls.read(id)
  local job = get(id)
  return job and shown(id, job)
end

function calls.ended(limit) return all_shown(redis.call('ZRANGE', ended, 0, tonumber(limit) - 1)) end

function calls.dead(skip, limit)
  return all_shown(redis.call('ZREVRANGE', dead, tonumber(skip), tonumber(skip) + tonumber(limit) - 1))
end

function calls.collect(id)
  local job = get(id)
  if job and (job.state == 'done' or job.state == 'cancelled') then drop(id) end
  if job and job.state == 'dead' then redis.call('ZREM', ended, id) end
  return 1
end

function calls.retry(id)
  local job = get(id)
  if not job or job.state ~= 'dead' then return 0 end
  job.failures, job.losses = 0, 0
  line_up(id, job)
  wake()
  return 1
end

function calls.forget(id)
  local job = get(id)
  if not job or job.state ~= 'dead' then return 0 end
  drop(id)
  return 1
end

function calls.counts()
  local first = redis.call('ZRANGE', waiting, 0, 0)[1]
  local job = first and get(first)
  return {redis.call('ZCARD', waiting) + redis.call('ZCARD', delayed), redis.call('ZCARD', running), redis.call('ZCARD', ended),
    redis.call('ZCARD', dead), job and job.enqueued or false}
end

return calls[ARGV[1]](unpack(ARGV, 2))
