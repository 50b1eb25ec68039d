-- token, body, fresh, usable, grace, fetch seconds, kind, channel of announcements or '', largest body in a message
local key, token, bytes, kind = KEYS[1], ARGV[1], ARGV[2], ARGV[7]
local grace = text(now + tonumber(ARGV[5]))
local t, r, s, y, o, w = unpack(redis.call('HMGET', key, 't', 'r', 's', 'y', 'o', 'w'))
if t ~= token then
  if r == token then
    return 'kept'
  end
  return o == token and 'delivered' or 'refused'
end

-- What grows comes first: once a script has written, a full server lets it write on.
local done
if kind == 'keep' then
  local fresh, usable = text(now + tonumber(ARGV[3])), text(now + tonumber(ARGV[4]))
  done = redis.pcall('HSET', key, 'b', bytes, 'r', token, 'f', fresh, 's', usable, 'd', ARGV[6], 'y', grace)
  if not is_refused(done) then
    s, y = usable, grace
    redis.call('HDEL', key, 'o', 'k', 'x')
  end
else
  done = redis.pcall('HSET', key, 'o', token, 'k', kind, 'x', bytes, 'y', grace)
  if not is_refused(done) then
    y = grace
  end
end
local is_full = is_refused(done)
redis.call('HDEL', key, 't', 'l', 'w')
expire(key, s, y)

local fresh, usable = '0', '0'
if kind == 'keep' then
  fresh, usable = ARGV[3], ARGV[4]
end
local message = frame('finished') .. frame(key) .. frame(token) .. frame(kind) .. frame(fresh) .. frame(usable)
message = message .. frame(ARGV[6])
if is_full or #bytes <= tonumber(ARGV[9]) then
  message = message .. frame(bytes)
end
wake(w, message)
if is_full or kind ~= 'keep' then
  return 'delivered'
end
if ARGV[8] ~= '' then
  redis.pcall('PUBLISH', ARGV[8], frame('dropped') .. frame(key) .. frame(token))
end
return 'kept'
