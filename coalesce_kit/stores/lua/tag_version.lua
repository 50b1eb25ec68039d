-- new version, whether to replace, how long it is kept, channel of announcements, the tag
local key, version, keep = KEYS[1], ARGV[1], tonumber(ARGV[3])
local is_replaced = ARGV[2] == '1'
local known = redis.call('GET', key)
local left = redis.call('PTTL', key)
if known and not is_replaced then
  if left < keep then
    redis.call('PEXPIRE', key, text(keep))
  end
  return known
end
local done = redis.pcall('SET', key, version, 'PX', text(math.max(left, keep)))
if is_refused(done) then
  if not is_replaced then
    return done
  end
  -- Forgetting needs no memory, and whoever asks next gives the tag another version.
  redis.call('DEL', key)
end
if is_replaced then
  redis.pcall('PUBLISH', ARGV[4], frame('moved') .. frame(ARGV[5]) .. frame(version))
end
return version
