-- token
local key, token = KEYS[1], ARGV[1]
local t, s, y, w = unpack(redis.call('HMGET', key, 't', 's', 'y', 'w'))
if t ~= token then
  return 0
end
redis.call('HDEL', key, 't', 'l', 'w')
expire(key, s, y)
wake(w, frame('voided') .. frame(key) .. frame(token))
return 1
