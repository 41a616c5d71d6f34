#!lua
-- Changes fields of a topic that is one object, and tells everybody (redis.md 1.7).
--
-- KEYS map ("#h" head: "1", mode "m", epoch 8 B, mark 4 B, offset in decimal; "f<key>" JSON; "#n" how many of
--      these there are, "#b" bytes of their keys and values; "i<incarnation>" its last batch: number, ":",
--      epoch 8 B, mark 4 B, offset in decimal),
--      idempotency, if the publisher gave one (epoch 8 B, mark 4 B, offset in decimal)
-- ARGV 1 publish command, 2 channel, 3 ttl s, 4 whether to renew the key's life (1, 0), 5 birth epoch, 6 mark,
--      7 incarnation, 8 number of the batch, 9 fields at most, 10 bytes at most,
--      11 whether all fields go first (1, 0), 12 the live incarnations ("a,b"), '' from the second batch on,
--      13 idempotency ttl s, 14 the item, 15 number of pairs, then the pairs (field with its "f", JSON),
--      then the fields to remove
-- Answers {OK, epoch and offset}, {DONE, epoch and offset, mark} of the incarnation's last batch if this is no
--      later one, {LIMIT}, {MODE, byte of the one it has} or {CORRUPT}; only OK has written anything.
local map, idempotency = KEYS[1], KEYS[2]
local batch, is_replaced = 'i' .. ARGV[7], ARGV[11] == '1'
local pairs_end = 15 + 2 * ARGV[15]
local function text(number) return string.format('%.0f', number) end
local function is_head(head)
  local is_whole = string.sub(head, 1, 1) == '1' and string.find(head, '^%d+$', 15)
  return is_whole and tonumber(string.sub(head, 15)) < 1e14
end
local function done(position)
  if not string.find(position, '^%d+$', 13) then return {'CORRUPT'} end
  return {'DONE', string.sub(position, 1, 8) .. string.sub(position, 13), string.sub(position, 9, 12)}
end
-- Lua passes some 7,900 words at once, not more. An even number keeps pairs together.
local function in_parts(command, words, use)
  for at = 1, #words, 4000 do
    local answer = redis.call(command, map, unpack(words, at, math.min(at + 3999, #words)))
    if use then use(at, answer) end
  end
end

local position = idempotency and redis.call('GET', idempotency)
if position then return done(position) end

-- What the topic is, and what the touched fields hold now.
local wanted, now = {'#h', '#n', '#b', batch}, {}
for at = 16, is_replaced and 0 or #ARGV do
  if at > pairs_end or at % 2 == 0 then wanted[#wanted + 1] = ARGV[at] end
end
in_parts('HMGET', wanted, function(first, values)
  for at, value in ipairs(values) do now[wanted[first + at - 1]] = value end
end)
local head, latest = now['#h'], now[batch]
local epoch, mark, offset, number, bytes = ARGV[5], '\0\0\0\0', 0, 0, 0
if head then
  if not is_head(head) then return {'CORRUPT'} end
  if string.sub(head, 2, 2) ~= 'm' then return {'MODE', string.sub(head, 2, 2)} end
  epoch, mark, offset = string.sub(head, 3, 10), string.sub(head, 11, 14), tonumber(string.sub(head, 15))
  if latest then
    local batches, its_position = string.match(latest, '^(%d+):(.*)$')
    if not batches then return {'CORRUPT'} end
    if tonumber(ARGV[8]) <= tonumber(batches) then return done(its_position) end
  end
  number, bytes = tonumber(now['#n'] or 0), tonumber(now['#b'] or 0)
  if not number or not bytes then return {'CORRUPT'} end
else
  local other = redis.call('GET', string.sub(map, 1, -2) .. 'h')
  if other then return is_head(other) and {'MODE', string.sub(other, 2, 2)} or {'CORRUPT'} end
end
-- A head that the next change would refuse is not written.
if offset + 1 >= 1e14 then return {'CORRUPT'} end

-- What there will be. Without a head nobody counted the fields that are left, so they go, too.
if is_replaced or not head then number, bytes, now = 0, 0, {} end
local function hold(field, json)
  local former = now[field]
  if former then number, bytes = number - 1, bytes - #field + 1 - #former end
  if json then number, bytes = number + 1, bytes + #field - 1 + #json end
  now[field] = json
end
local gone = {}
for at = 16, pairs_end, 2 do hold(ARGV[at], ARGV[at + 1]) end
for at = pairs_end + 1, #ARGV do
  if now[ARGV[at]] then gone[#gone + 1] = ARGV[at] end
  hold(ARGV[at], nil)
end
if number > tonumber(ARGV[9]) or bytes > tonumber(ARGV[10]) then return {'LIMIT'} end

-- What goes whatever the change is: all fields, and the batches of the dead.
local dropped, live = {}, {}
for incarnation in string.gmatch(ARGV[12], '[^,]+') do live['i' .. incarnation] = true end
for _, field in ipairs(head and (is_replaced or ARGV[12] ~= '') and redis.call('HKEYS', map) or {}) do
  local kind = string.sub(field, 1, 1)
  if kind == 'f' and is_replaced or kind == 'i' and ARGV[12] ~= '' and not live[field] then
    dropped[#dropped + 1] = field
  end
end

if not head then redis.call('DEL', map) end
in_parts('HDEL', dropped)
position = epoch .. ARGV[6] .. text(offset + 1)
local written = {
  '#h', '1m' .. position, '#n', text(number), '#b', text(bytes), batch, ARGV[8] .. ':' .. position,
}
for at = 16, pairs_end do written[#written + 1] = ARGV[at] end
in_parts('HSET', written)
in_parts('HDEL', gone)
if ARGV[4] == '1' or not head then redis.call('EXPIRE', map, ARGV[3]) end
if idempotency then redis.call('SET', idempotency, position, 'EX', ARGV[13]) end
redis.call(ARGV[1], ARGV[2], 'P' .. epoch .. mark .. struct.pack('>I8', offset + 1) .. ARGV[14])
return {'OK', epoch .. text(offset + 1)}
