#!lua flags=allow-oom
-- Writes how many peers a node has in a namespace and tells everybody the sum (redis.md 7).
--
-- KEYS counts ("i<incarnation>" = peers or "x<seconds>" once reaped, "#s" sum, "#e" epoch, "#v" version,
--      "#t" last told, "#d" owed)
-- ARGV operation (set, reap, flush), incarnation, peers, channel, interval ms, birth epoch, publish command
-- Answers {OK, epoch, version, sum, ms until a flush is due or 0} or {FENCED}.
local counts, operation, field = KEYS[1], ARGV[1], 'i' .. ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', counts, field, '#s', '#e', '#v', '#t', '#d')
local old, sum, epoch = known[1], tonumber(known[2] or 0), known[3] or ARGV[6]
local version, told, owed = tonumber(known[4] or 0), tonumber(known[5] or 0), known[6] == '1'
local dead = old and string.sub(old, 1, 1) == 'x'
if operation == 'set' and dead then return {'FENCED'} end
local before, after = dead and 0 or tonumber(old or 0), tonumber(ARGV[3])
if operation == 'flush' then after = before end

if after ~= before then
  sum, version, owed = sum + after - before, version + 1, true
end
if operation == 'reap' then
  local all = redis.call('HGETALL', counts)
  for at = 1, #all, 2 do
    local buried = string.sub(all[at], 1, 1) == 'i' and string.match(all[at + 1], '^x(%d+)$')
    if buried and time[1] - buried > 86400 then redis.call('HDEL', counts, all[at]) end
  end
  redis.call('HSET', counts, field, 'x' .. time[1])
elseif operation == 'set' and after > 0 then
  redis.call('HSET', counts, field, text(after))
elseif operation == 'set' and old then
  redis.call('HDEL', counts, field)
end
local wait, interval = 0, tonumber(ARGV[5])
local tell = owed and (now < told or now - told >= interval)
if tell then
  owed, told = false, now
elseif owed then
  wait = told + interval - now
end
redis.call('HSET', counts, '#s', text(sum), '#e', epoch, '#v', text(version), '#t', text(told), '#d', owed and 1 or 0)
-- Nothing but these five: nobody is there and nobody dead may come back, so the key may go soon.
redis.call('EXPIRE', counts, redis.call('HLEN', counts) > 5 and 86400 or 600)
if tell then redis.call(ARGV[7], ARGV[4], 'C' .. epoch .. text(version) .. ' ' .. text(sum)) end
return {'OK', epoch, text(version), text(sum), text(wait)}
