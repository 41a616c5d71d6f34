#!lua flags=allow-oom
-- Renews a node's lease, declares overdue ones dead and hands out one dead node to reap (redis.md 5.2, 5.3).
--
-- KEYS live, gone, meta (the zsets hold a sentinel at +inf, so that no key is ever absent)
-- ARGV incarnation, ttl ms, lease ms, birth epoch, version seen, claim ms, whether to renew the keys' lives (1, 0)
-- Answers {OK, epoch, version, now ms, live or false if its version was seen, job or false}
--      or {FENCED, epoch}.
local live, gone, meta = KEYS[1], KEYS[2], KEYS[3]
local incarnation, ttl, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', meta, 'e', 'v', 't')
local epoch, version, last = known[1], tonumber(known[2] or 0), tonumber(known[3])
if redis.call('ZSCORE', gone, incarnation) then return {'FENCED', epoch or ''} end
local renew = ARGV[7] == '1' or not epoch
if not epoch then
  epoch = ARGV[4]
  redis.call('HSET', meta, 'e', epoch)
  redis.call('ZADD', live, '+inf', '#')
  redis.call('ZADD', gone, '+inf', '#')
end
-- Redis was away, or everybody was, or its clock was set: nobody is dead because of that.
if not last or now < last or now - last > ttl / 2 then
  for _, member in ipairs(redis.call('ZRANGE', live, 0, -1)) do
    if member ~= '#' then redis.call('ZADD', live, text(now + 2 * lease), member) end
  end
end
if redis.call('ZADD', live, text(now + ttl), incarnation) == 1 then version = version + 1 end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', live, '-inf', '(' .. text(now), 'LIMIT', 0, 16)) do
  redis.call('ZREM', live, member)
  redis.call('ZADD', gone, text(now), member)
  version = version + 1
end
redis.call('HSET', meta, 'v', text(version), 't', text(now))
local job = redis.call('ZRANGEBYSCORE', gone, 1, text(now), 'LIMIT', 0, 1)[1]
if job then redis.call('ZADD', gone, text(now + tonumber(ARGV[6])), job) end
if renew then
  redis.call('ZREMRANGEBYSCORE', gone, text(-(now - 86400000)), -1)
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, 86400) end
end
local members = false
if text(version) ~= ARGV[5] then
  members = redis.call('ZRANGEBYSCORE', live, '-inf', '(+inf')
end
return {'OK', epoch, text(version), text(now), members, job or false}
